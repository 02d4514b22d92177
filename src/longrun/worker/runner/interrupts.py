"""The second step of stopping: the reason is raised in the job's own code, and never in ours."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import types
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from longrun.errors import Canceled
from longrun.worker.runner.run import Run

T = TypeVar("T")


class Interrupts:
    """Calls the code of sync jobs so that `interrupt` strikes inside it or not at all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: dict[int, list[Run]] = {}
        self._struck: set[int] = set()

    def call(self, group: list[Run], code: Callable[[], T]) -> T:
        """What `code`, the code of the jobs in `group`, returns."""
        ident = threading.get_ident()
        returned: list[T] = []
        try:
            try:
                self._inside[ident] = group
                returned.append(code())
            finally:
                self._leave(ident)
        except Canceled:
            # The interrupt came after the last line of user code: a job that had its outcome keeps it.
            if not returned:
                raise
            self._leave(ident)
            for each in group:
                each.raised, each.partial = "", False
        return returned[0]

    def _leave(self, ident: int) -> None:
        """Leave the state in which an interrupt can hit this thread, and take back one that is still on its way."""
        with self._lock:
            group = self._inside.pop(ident, None)
            if group is None or ident in self._struck:
                self._struck.discard(ident)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), None)

    def interrupt(self, run: Run) -> None:
        """Raise its reason in the code that it shares with others, if it runs and nobody wants that any more."""
        with self._lock:
            for ident, group in list(self._inside.items()):
                if group is run.group and run.unwanted:
                    run.interrupted = True
                    self._struck.add(ident)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(run.reason))


@types.coroutine
def awaited(awaitable: Any, group: list[Run]) -> Generator[Any, Any, Any]:
    """Await the code of async jobs; what `Task.cancel` throws into it becomes the reason of the first of them that is to stop."""
    code = awaitable if hasattr(awaitable, "send") else awaitable.__await__()
    thrown: BaseException | None = None
    for each in group:
        each.inside = True
    try:
        while True:
            try:
                waits_for = code.send(None) if thrown is None else code.throw(thrown)
            except StopIteration as end:
                return end.value
            thrown = None
            try:
                yield waits_for
            except GeneratorExit:
                code.close()
                raise
            except BaseException as error:
                thrown = _translated(error, group)
    finally:
        thrown = None
        for each in group:
            each.inside = False


def _translated(error: BaseException, group: list[Run]) -> BaseException:
    stopped = next((each for each in group if each.reason is not None and not each.raised), None)
    if stopped is None or not isinstance(error, asyncio.CancelledError) or isinstance(error, Canceled):
        return error
    task = asyncio.current_task()
    assert task is not None
    # From here on it is an exception like others: code that catches it may go on, with timeouts and task groups of its own.
    task.uncancel()
    assert stopped.reason is not None
    return stopped.reason()
