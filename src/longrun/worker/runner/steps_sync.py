"""The steps of a sync run: its thread blocks in a queue of ours."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from longrun.errors import LetGo, LongrunError
from longrun.models.steps.awaits import Await
from longrun.models.steps.start import Start
from longrun.worker.runner.context import Context
from longrun.worker.runner.raising import shielded
from longrun.worker.runner.run import Run
from longrun.worker.runner.steps import Steps

T = TypeVar("T")


class SyncSteps(Steps):
    """See the module. To stop a thread that waits takes no exception from outside: a word in its queue has it look at its flag.

    Args:
        thread: that of its code.
        on_parked: called with True when the thread holds no slot, for its worker has said so, and with False when it goes on.
    """

    is_async = False

    def __init__(self, run: Run, context: Context, start: Start, *, thread: int, on_parked: Callable[[bool], None]) -> None:
        self._on_parked = on_parked
        self._thread = thread
        self._parked, self._lock = False, threading.Lock()
        self._inbox: queue.SimpleQueue[tuple[Any, ...] | Literal["look", "let go"]] = queue.SimpleQueue()
        super().__init__(run, context, start)

    async def wait(self, waiting: Await) -> None:
        """See `Port`."""
        self._wait(waiting)

    def check_place(self) -> None:
        """See `Steps`."""
        if threading.get_ident() != self._thread:
            raise LongrunError("steps work on the thread of predict alone: have them run side by side with job.gather or job.map")

    @shielded
    def _wait(self, waiting: Await) -> None:
        while not waiting.done:
            if self.must_stop():
                self.go_on()
                self.stop_here(waiting)
                return
            self.send(self._flow.turn(idle=True))
            if not waiting.done:
                self._take(self._inbox.get())

    def _take(self, what: tuple[Any, ...] | Literal["look", "let go"]) -> None:
        if what == "let go":
            if self._flow.parked and self.run.reason is None:
                self.run.request_stop(LetGo, is_async=False)
        elif what != "look":
            self._flow.feed(*what)
            self.note_parked()

    async def aside(self, work: Callable[[], T]) -> T:
        """See `Port`."""
        return shielded(work)()

    def _feed(self, kind: str, n: int, *rest: Any) -> None:
        self._inbox.put((kind, n, *rest))
        if kind != "kept":
            # Now, so that no other thread takes what the worker sends after it.
            self._park(kind == "answer" and n != 0 and bool(rest[1]))

    def _park(self, parked: bool) -> None:
        with self._lock:
            parked = parked and not self.closed
            changes, self._parked = parked != self._parked, parked
        if changes:
            self._on_parked(parked)

    def let_go(self) -> None:
        """See `Steps`."""
        self._inbox.put("let go")

    def look(self) -> None:
        """Have its thread look at its flag, if it waits."""
        self._inbox.put("look")

    def go_on(self) -> None:
        """See `Steps`."""
        super().go_on()
        self._park(False)

    def _moved_over(self) -> None:
        """Its slot went with what the worker has said."""

    def _ended(self) -> None:
        self.go_on()
