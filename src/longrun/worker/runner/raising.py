"""How an exception is raised in the author's code on another thread, and never in ours.

Python's own way is `PyThreadState_SetAsyncExc`: the exception is raised when the interpreter looks for one the next time. Up to Python
3.12 that does, with a gate that closes when the author's code has ended (`Asynchronous`). Later versions look at moments that belong to no
`try`: at the end of a turn of `for i in range(n)`, and, from 3.14 on, between a lock's `__enter__` and the body under it. There the
instructions of the functions that the thread is in are watched until one comes at which raising does no harm (`Monitored`, by PEP 669).
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, ParamSpec, Protocol, TypeVar

from longrun.worker.runner.children import forked

P = ParamSpec("P")
T = TypeVar("T")
_LONGRUN = Path(__file__).parents[2]
#: What the author's code calls of ours, and must come to its end: reports, and reading and storing files.
_OURS = (f"{_LONGRUN / 'worker'}/", f"{_LONGRUN / 'models'}/")
#: And what calls the author's code.
_CALLERS = tuple(str(Path(__file__).with_name(f"{name}.py")) for name in ("interrupts", "executor", "sync_executor"))
#: So many instructions may pass until one comes that a `try` or `with` of its function covers.
_PATIENCE = 2000
#: Reasons in one call: its time is over, and then its caller does not want it any more.
_REASONS = 2


class Raiser(Protocol):
    """Raises the reason to stop in one call of the author's code. It is made by the thread that makes that call, for that call."""

    def attempt(self, error: type[BaseException], raised: Callable[[], bool]) -> bool:
        """Have it raised, unless `raised`. Called by another thread; again and again, as the code may move on, until it returns True."""

    def close(self) -> None:
        """The code has ended: nothing is raised any more once this has returned. Where it is raised in here, it must be called again."""


class Asynchronous:
    """Until Python 3.12."""

    def __init__(self) -> None:
        self._ident = threading.get_ident()
        # To raise one must hold it. The thread of the call takes it as often as it likes, so that `close` can be called again.
        self._gate = threading.RLock()
        self._closed = False
        self._left = _REASONS
        self._pending: tuple[type[BaseException], Callable[[], bool]] | None = None
        _active[self._ident] = self

    def attempt(self, error: type[BaseException], raised: Callable[[], bool]) -> bool:
        """See Raiser."""
        if self._closed:
            return True
        if not self._gate.acquire(timeout=0.01):
            return False
        try:
            if self._left and not self._closed and not raised():
                self._left -= 1
                self._pending = error, raised
                _set_async_exc(self._ident, error)
        finally:
            self._gate.release()
        return True

    def close(self) -> None:
        """See Raiser. The gate stays closed."""
        if forked():  # the thread that had the gate may not be here
            return
        self._gate.acquire()
        self._closed = True
        if self._pending is not None:
            _take_back(self._ident)
        _active.pop(self._ident, None)

    def shield(self, call: Callable[[], T]) -> T:
        """What `call` returns; the exception that was on its way, or comes meanwhile, is raised afterwards."""
        owned = self._gate._is_owned  # type: ignore[attr-defined]
        if owned():
            return call()
        try:
            self._gate.acquire()
            if self._pending is not None:
                _take_back(self._ident)
            return call()
        finally:
            # Not so if it was raised in the first line above.
            if owned():
                if self._pending is not None and not self._pending[1]():
                    _set_async_exc(self._ident, self._pending[0])
                self._gate.release()


class Monitored:
    """From Python 3.13 on."""

    def __init__(self) -> None:
        self._ident = threading.get_ident()
        self._watched: dict[CodeType, list[range]] = {}
        self._patience = _PATIENCE
        self._reason: tuple[type[BaseException], Callable[[], bool]] | None = None
        self._closed = False

    def attempt(self, error: type[BaseException], raised: Callable[[], bool]) -> bool:
        """See Raiser."""
        with _lock:
            if self._closed or raised():
                return True
            self._reason = error, raised
            _active[self._ident] = self
            frame = sys._current_frames().get(self._ident)
            while frame is not None and frame.f_code.co_filename not in _CALLERS:
                if not frame.f_code.co_filename.startswith(_OURS) and frame.f_code not in self._watched:
                    self._watched[frame.f_code] = covered(frame.f_code)
                    _watch(frame.f_code, 1)
                frame = frame.f_back
        return False

    def close(self) -> None:
        """See Raiser."""
        if not self._closed and not forked():
            with _lock:
                self._closed = True
                self._forget()

    def _forget(self) -> None:
        if self._reason is not None:
            self._reason = None
            _active.pop(self._ident, None)
            for code in self._watched:
                _watch(code, -1)
            self._watched.clear()

    def reached(self, code: CodeType, offset: int, frame: FrameType) -> None:
        """The thread is about to do the instruction at `offset`: raise the reason here, if that is a good place."""
        ranges, reason = self._watched.get(code), self._reason
        if ranges is None or reason is None:
            return
        if ranges and self._patience and not any(offset in each for each in ranges):
            self._patience -= 1
            return
        if not _is_authors(frame):
            return
        error, raised = reason
        with _lock:
            self._forget()
            self._patience = _PATIENCE
        if not raised():
            raise error


_active: dict[int, Any] = {}  #: by thread: who raises there, or (Monitored) is about to
_lock = threading.Lock()
_tool: list[int] = []  #: our number among the tools that watch
_counts: dict[CodeType, int] = {}


def new_raiser() -> Raiser:
    """The one for this version of Python."""
    return Monitored() if sys.version_info >= (3, 13) and _has_tool() else Asynchronous()


def shielded(function: Callable[P, T]) -> Callable[P, T]:
    """What the author's code calls of ours and must not be left in the middle: nothing is raised in it."""

    @functools.wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> T:
        raiser = _active.get(threading.get_ident())
        if not isinstance(raiser, Asynchronous):
            return function(*args, **named)
        return raiser.shield(lambda: function(*args, **named))

    return call


def _set_async_exc(ident: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))


class _Nothing(BaseException):
    """Takes the place of an exception that is not to be raised any more."""


def _take_back(ident: int) -> None:
    """Have nothing on its way to the calling thread any more.

    Not by NULL: with that Python 3.11 looks for an exception for ever, and enters no function under a tracer or profiler then.
    """
    try:
        _set_async_exc(ident, _Nothing)
        _wait_for_it()
    except _Nothing:
        return


def _wait_for_it() -> None:
    # A function of its own: what arises at the end of a turn is no part of a `try` around the loop itself (see the module).
    while True:
        pass


def _is_authors(frame: FrameType | None) -> bool:
    """Whether what runs in a frame is the author's and what it calls, and nothing of ours that it has called."""
    while frame is not None and not frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return frame is None or frame.f_code.co_filename in _CALLERS


def covered(code: CodeType) -> list[range]:
    """Where in a function an exception comes to a `try` or `with` of its own: ranges of offsets.

    The table's format: "Format of the exception table" in CPython's InternalDocs/exception_handling.md.
    """
    numbers = _varints(code.co_exceptiontable)
    return [range(2 * start, 2 * (start + size)) for start, size, _, _ in zip(numbers, numbers, numbers, numbers, strict=False)]


def _varints(table: bytes) -> Iterator[int]:
    value = 0
    for byte in table:
        value = value << 6 | byte & 63
        if not byte & 64:
            yield value
            value = 0


# -- watching instructions, by `sys.monitoring` (unknown to Python 3.11) -------------------------------------------------------------------


def _has_tool() -> bool:
    """Whether we may watch: at the first call one of the six numbers for tools is taken, those without a meaning first."""
    if not _tool:
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        for number in (4, 3, 5, 2, 1, 0):
            if monitoring.get_tool(number) is None:
                monitoring.use_tool_id(number, "longrun")
                monitoring.register_callback(number, monitoring.events.INSTRUCTION, _on_instruction)
                _tool.append(number)
                break
    return bool(_tool)


def _watch(code: CodeType, change: int) -> None:
    """One call more, or less, for which a function is watched; under the lock."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    count = _counts[code] = _counts.get(code, 0) + change
    if not count:
        del _counts[code]
    monitoring.set_local_events(_tool[0], code, monitoring.events.INSTRUCTION if count else 0)


def _on_instruction(code: CodeType, offset: int) -> None:
    raiser = _active.get(threading.get_ident())
    if raiser is not None:
        raiser.reached(code, offset, sys._getframe(1))
