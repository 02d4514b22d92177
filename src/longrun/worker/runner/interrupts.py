"""The second step of stopping: the reason is raised in the job's own code, and never in ours."""

from __future__ import annotations

import asyncio
import threading
import types
from collections import defaultdict
from collections.abc import Callable, Generator
from functools import partial
from time import sleep
from typing import Any, TypeVar

from longrun.errors import Canceled
from longrun.worker.runner.raising import Asynchronous, Raiser, new_raiser
from longrun.worker.runner.run import Run

T = TypeVar("T")
#: Seconds from one attempt to the next.
_AGAIN = 0.05


class Interrupts:
    """Calls the code of sync jobs so that `interrupt` strikes inside it or not at all."""

    def __init__(self) -> None:
        self._inside: dict[int, tuple[list[Run], Raiser]] = {}

    def call(self, group: list[Run], code: Callable[[], T]) -> T:
        """What `code`, the code of the jobs in `group`, returns. Between the two should be nothing of ours."""
        ident, raiser = threading.get_ident(), new_raiser()
        # This calls `code` and keeps what it returns in one step of the interpreter: no exception comes between the two.
        held: defaultdict[int, T] = defaultdict(code)
        ended: BaseException | None = None
        try:
            # An exception that comes in the first `close` is followed by the second; there are two at most, and nobody hears of them then.
            try:
                try:
                    self._inside[ident] = group, raiser
                    return held[0]
                finally:
                    raiser.close()
            finally:
                raiser.close()
        except Canceled as error:
            raiser.close()
            if 0 not in held and not (_came_late(error) and error.__context__ is not None):
                raise
            ended = None if held else error.__context__
        finally:
            self._inside.pop(ident, None)
        # The code had ended already: a job that had its outcome keeps it.
        for each in group:
            each.raised, each.partial = "", False
        if ended is not None:
            raise ended
        return held[0]

    def thread_of(self, run: Run) -> int:
        """The thread that runs its code; when none does, this one."""
        return next((ident for ident, (group, _) in list(self._inside.items()) if group is run.group), threading.get_ident())

    def interrupt(self, run: Run) -> None:
        """Raise its reason in the code that it shares with others, if it runs and nobody wants that any more."""
        raiser = next((raiser for group, raiser in list(self._inside.values()) if group is run.group), None)
        reason = run.reason
        if raiser is not None and reason is not None and run.unwanted:
            run.interrupted = True
            attempt = partial(raiser.attempt, reason, lambda: bool(run.raised) or run.reason is not reason)
            if not attempt():
                threading.Thread(target=_insist, args=(attempt,), name="interrupt", daemon=True).start()


def _insist(attempt: Callable[[], bool]) -> None:
    """The code was not to be interrupted at that moment, or may move on."""
    while not attempt():
        sleep(_AGAIN)


def _came_late(error: BaseException) -> bool:
    """Whether it was raised here, when the author's code had ended."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code in (Interrupts.call.__code__, Asynchronous.close.__code__)


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
