"""What is known of an exception that an author's code has raised, whatever that exception does when it is looked at.

Its `__str__`, its notes and its attributes are the author's code: they may raise anything, wait for ever or give 30 MB. They are asked
on a thread of their own, for 0.15 s; what has no answer by then is left out. All else is read from Python's own slots, see
`exception_text`.
"""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import math
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import longrun.errors as ours
from longrun.errors import BlobsFull, BlobsUnavailable, JobError, RetryAfter, StepFailed
from longrun.errors.catching import is_caught_by
from longrun.worker.runner.exception_text import ExceptionText, Part, class_name, cut, in_group, plain_text
from longrun.worker.runner.hints import main_thread_hint
from longrun.worker.runner.lines import readable
from longrun.worker.runner.memory import says_out_of_memory

#: An exception has so many looks, so many seconds apart, to say what it is: where all threads stand still for long that is one look.
LOOKS, _LOOK = 10, 0.015
#: Threads that may be stuck in that, and those of one class; with more of them none is asked any more.
_MOST_STUCK, _MOST_OF_ONE = 50, 3
_LONGEST, _LONGEST_DETAIL, _MOST_NOTES = 4_000, 4_096, 10
#: An exception of these classes, with values of these, has no code of an author's that could be called.
_SPECIAL = (OSError, SyntaxError, ImportError, UnicodeError, BaseExceptionGroup)
_PLAIN = frozenset(
    each
    for module in (builtins, ours)
    for each in vars(module).values()
    if type(each) is type and issubclass(each, BaseException) and not issubclass(each, _SPECIAL)
)
_SIMPLE = (str, int, float, bool, type(None))
_stuck: list[tuple[threading.Thread, type[BaseException]]] = []


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception, as far as it could be asked.

    Args:
        error: itself; to be looked at by `is_caught_by` alone.
        name: of its class.
        text: for operators: its place, its own words, and those of what caused it; 16,000 characters at most.
        detail: of our own classes: what the author chose to show to callers; empty = nothing.
        cause: of our own classes: the name of a class.
        seconds: of `RetryAfter`: how long to wait; None = that is no number.
        out_of_memory: it says that there was not enough memory.
    """

    error: BaseException
    name: str
    text: str
    detail: str = ""
    cause: str | None = None
    seconds: float | None = None
    out_of_memory: bool = False


def named(error: BaseException) -> Raised:
    """What is known without asking anything: the last resort."""
    name = class_name(type(error))
    cause = None if _has_detail(error) else name
    text = f"{name}: (what it says could not be read)\n"
    return Raised(error, name, text, cause=cause, out_of_memory=is_caught_by(error, MemoryError))


def describe(error: BaseException) -> Raised:
    """What is known of an exception. Never raises; takes 0.15 s at most."""
    try:
        asked = _Asked(error)
        if not asked.ask_here():
            answered = threading.Event()
            if asked.ask_aside(answered.set):
                any(answered.wait(_LOOK) for _ in range(LOOKS))
        return asked.raised()
    except BaseException:  # for want of memory, say, or of the author's making: a patched library
        return named(error)


async def describe_aside(error: BaseException) -> Raised:
    """As `describe`, while others on the event loop go on."""
    try:
        asked = _Asked(error)
        if not asked.ask_here():
            await _wait_for(asked)
        return asked.raised()
    except BaseException:
        return named(error)


def when_described(error: BaseException, then: Callable[[Raised], None]) -> None:
    """Call `then` with what is known of an exception: at once, or soon on a thread of its own if the exception has to be asked."""
    try:
        asked = _Asked(error)
        if not asked.ask_here():
            threading.Thread(target=lambda: then(describe(error)), daemon=True).start()
            return
        raised = asked.raised()
    except BaseException:
        raised = named(error)
    then(raised)


async def _wait_for(asked: _Asked) -> None:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[None] = loop.create_future()

    def answer() -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(answered.set_result, None)

    looks = LOOKS if asked.ask_aside(answer) else 0
    while looks and not answered.done():
        looks -= 1
        # A model may have canceled the task that it runs in.
        with suppress(asyncio.CancelledError):
            await asyncio.wait([answered], timeout=_LOOK)


class _GivenUp(BaseException):
    """Nobody waits for the answers any more."""


class _Asked:
    """An exception, those behind it, and what they have answered."""

    def __init__(self, error: BaseException) -> None:
        self.error, self._name, self._text = error, class_name(type(error)), ExceptionText(error)
        self._detail, self._cause, self._seconds = "", None if _has_detail(error) else self._name, None
        self._thread: threading.Thread | None = None
        self._answered = self._given_up = False

    def ask_here(self) -> bool:
        """Ask at once, if no code of an author's is called by that."""
        if not all(_is_plain(part.error) for part in self._text.parts):
            return False
        self._ask()
        return True

    def ask_aside(self, answered: Callable[[], None]) -> bool:
        """Ask on a thread; `answered` is called there. False: there is no thread for it."""
        _stuck[:] = [(thread, kind) for thread, kind in _stuck if thread.is_alive()]
        if len(_stuck) >= _MOST_STUCK or sum(kind is type(self.error) for _, kind in _stuck) >= _MOST_OF_ONE:
            return False

        def ask() -> None:
            with suppress(BaseException):  # `_GivenUp`, or what an author makes of that
                self._ask()
            self._answered = True
            answered()

        thread = threading.Thread(target=ask, name="exception", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine lets no more be started
            return False
        self._thread = thread
        return True

    def raised(self) -> Raised:
        """What is known by now. An exception that has not answered is asked to stop."""
        if self._thread is not None and not self._answered:
            self._given_up = True
            _stuck.append((self._thread, type(self.error)))
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(_GivenUp))
        said = any(says_out_of_memory(part.name, part.text or "") for part in self._text.parts if part.counts)
        short = said or any(is_caught_by(each, MemoryError) for each in in_group(self.error))
        text = self._text.text()
        if threading.current_thread() is not threading.main_thread():
            text += main_thread_hint(text)
        return Raised(self.error, self._name, text, self._detail, self._cause, self._seconds, short)

    def _ask(self) -> None:
        if _has_detail(self.error):
            self._detail = self._tried(lambda: _detail(self.error)) or ""
            self._cause = self._tried(lambda: _cause(self.error))
        if is_caught_by(self.error, RetryAfter):
            self._seconds = self._tried(lambda: _seconds(self.error))
        for part in self._text.parts:
            self._ask_one(part)

    def _ask_one(self, part: Part) -> None:
        text = self._tried(lambda: plain_text(str(part.error)))
        part.text = f"(its text could not be made: {self._why})" if text is None else readable(cut(text, _LONGEST))
        for note in self._tried(lambda: _notes(part.error)) or ():
            part.text += f"\n{readable(cut(note, _LONGEST))}"

    def _tried(self, ask: Callable[[], Any]) -> Any:
        """The answer, or None; then `_why` says what was raised instead."""
        try:
            return ask()
        except BaseException as error:
            if self._given_up:
                raise
            self._why = f"{class_name(type(error))} was raised"
            return None


def _has_detail(error: BaseException) -> bool:
    return is_caught_by(error, JobError, StepFailed, BlobsFull, BlobsUnavailable)


def _is_plain(error: BaseException) -> bool:
    # A class of a metaclass of its own would be asked for its hash.
    if type(type(error)) is not type or type(error) not in _PLAIN:
        return False
    held = error.__dict__
    return type(held) is dict and _are_simple(held) and _are_simple(held.values()) and _are_simple(error.args)


def _are_simple(values: Iterable[object]) -> bool:
    return all(type(each) in _SIMPLE and _is_short(each) for each in values)


def _is_short(value: object) -> bool:
    """Whether it takes no time to write it."""
    return len(value) < _LONGEST if type(value) is str else type(value) is not int or value.bit_length() < 256


# What follows is called by `_tried` alone: it calls code of the author's.


def _detail(error: Any) -> str:
    detail = error.detail
    if type(detail) is bytes:
        return readable(detail[:_LONGEST_DETAIL].decode("utf-8", "replace"))
    return "" if detail is None else readable(plain_text(str(detail))[:_LONGEST_DETAIL])


def _cause(error: Any) -> str | None:
    cause = error.cause
    return plain_text(cause) if isinstance(cause, str) else None


def _seconds(error: Any) -> float | None:
    try:
        seconds = float(error.seconds)
    except OverflowError:  # a whole number that is larger than any float
        seconds = float("inf")
    return None if math.isnan(seconds) else seconds


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", ())
    return [plain_text(str(each)) for each in list(notes)[:_MOST_NOTES]]
