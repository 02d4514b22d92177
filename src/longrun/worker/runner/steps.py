"""The steps of a run in its runner: what its code asks for goes to the worker, and what comes back is handed to its code.

What is the same for sync and async models; `steps_sync` and `steps_async` know how code waits.
"""

from __future__ import annotations

import itertools
import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, NoReturn, TypeVar

import orjson

from longrun.errors import Canceled, SoftTimeLimit
from longrun.jobs.file_refs import FileRef
from longrun.models.file_schema import Attached
from longrun.models.file_types import File
from longrun.models.steps.awaits import Await
from longrun.models.steps.flow import Flow
from longrun.models.steps.journal import History
from longrun.models.steps.outbox import Frame
from longrun.models.steps.start import Start
from longrun.worker.runner.children import check_not_forked
from longrun.worker.runner.context import Context
from longrun.worker.runner.run import Run

T = TypeVar("T")
#: Seconds between two looks at the flag while an answer is waited for.
_LOOK = 0.05


class Steps(ABC):
    """The steps of one run: a `models.steps.port.Port`.

    Args:
        run: whose.
        context: what it shares with others.
        start: what is known of it.
    """

    is_async: bool

    def __init__(self, run: Run, context: Context, start: Start) -> None:
        self.run, self._context, self._start = run, context, start
        self.attached: Attached = StepFiles(self)
        self.closed = False  #: its code has ended
        self._away = False  #: it is parked, and its code does not run
        self._numbers = itertools.count(-1, -1)  # those of its flow are positive
        self._lookups: dict[int, queue.SimpleQueue[tuple[Any, ...] | None]] = {}
        self.begin(History())

    def begin(self, history: History) -> None:
        """What is known of earlier attempts; before its code runs."""
        self._flow = Flow(self._start, history, warn=self._warn, stale=self._stale)

    def __deepcopy__(self, _: object) -> Steps:
        return self

    def __reduce__(self) -> NoReturn:
        self.run.__reduce__()

    @property
    def flow(self) -> Flow:
        """Its state, for its own code. Raises LongrunError: what asks is a forked child, or runs where steps cannot be awaited."""
        check_not_forked()
        self.check_place()
        return self._flow

    @property
    def silent(self) -> bool:
        """Whether its code repeats what it has reported before, or is being unwound."""
        return self._flow.silent or self.run.is_let_go

    # -- the port ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    async def wait(self, waiting: Await) -> None:
        """See `Port`."""

    @abstractmethod
    async def aside(self, work: Callable[[], T]) -> T:
        """See `Port`."""

    def store(self, file: File) -> FileRef:
        """See `Port`."""
        return self.run.files.store(file)

    def store_output(self, data: bytes) -> bytes:
        """See `Port`."""
        return self.run.files.store_output(data)

    @abstractmethod
    def check_place(self) -> None:
        """Raises LongrunError: steps cannot be asked for where the code runs."""

    # -- how it is stopped, and ends --------------------------------------------------------------------------------------

    def must_stop(self) -> bool:
        """Whether its code is to stop where it waits: a soft time limit is raised once."""
        reason = self.run.reason
        return reason is not None and not reason.raised

    def stop_here(self, waiting: Await) -> None:
        """Raise the reason to stop where this is awaited, and, unless it is but the time limit, wherever a step is awaited from now on."""
        if self.run.kind is SoftTimeLimit:
            waiting.stop(self.run.stop_error)
            self._flow.abandon(waiting, drop=False)
        else:
            self._flow.stop(self.run.stop_error)

    async def finish(self) -> None:
        """Its code has returned: what it has not asked for again is marked, and its log says what that has cost. Raises as `end` does."""
        if not self.closed and self.run.reason is None:
            self.send(self._flow.end())
            if self._flow.closing is not None:
                await self.wait(self._flow.closing)
        self.end(failed=False)

    def end(self, *, failed: bool) -> None:
        """Its code has ended: send what is left to be written.

        Raises:
            StepNotAwaited: a step was never begun.
            Canceled: it was let go, whatever its code has made of that.
        """
        if self.closed:
            return
        self.closed = True
        try:
            if self.run.is_let_go:
                if not failed:
                    raise self.run.stop_error()
            elif self.run.kind is None or self.run.kind is SoftTimeLimit:
                self.send(self._flow.end(failed=failed))
        finally:
            self._ended()

    @abstractmethod
    def _ended(self) -> None:
        """Nobody waits any more."""

    def _stale(self) -> BaseException:
        if self.run.reason is None:
            self.run.request_stop(Canceled, is_async=self.is_async)
        return self.run.stop_error()

    # -- to and from the worker -------------------------------------------------------------------------------------------

    def send(self, frames: Sequence[Frame]) -> None:
        """Send what its flow has to say, after what the run has said before: the files that it has made, above all."""
        if frames:
            run = self.run
            with self._context.capture.lock:
                run.flush()
            for kind, *rest in frames:
                self._context.send(kind, run.id, run.fence, *rest)

    def reply(self, kind: str, n: int, *rest: Any) -> None:
        """The worker has answered; called by the pipe's thread."""
        if n < 0:
            lookup = self._lookups.get(n)
            if lookup is not None:
                lookup.put(None if kind == "stale" else rest)
        else:
            self._feed(kind, n, *rest)

    @abstractmethod
    def _feed(self, kind: str, n: int, *rest: Any) -> None:
        """Have this fed to the flow where the code runs; called by the pipe's thread."""

    @abstractmethod
    def let_go(self) -> None:
        """Have its code unwound, if it is parked; called by the pipe's thread."""

    def lookup(self, kind: str, *members: Any) -> tuple[Any, ...]:
        """Ask the worker for something that is no step, and wait for it, on whatever thread.

        Raises:
            Canceled: the run is to stop.
        """
        check_not_forked()
        n = next(self._numbers)
        answers = self._lookups[n] = queue.SimpleQueue()
        try:
            self.send([(kind, n, *members)])
            while True:
                try:
                    answer = answers.get(timeout=_LOOK)
                except queue.Empty:
                    self.run.check(True)
                else:
                    if answer is None:
                        raise self._stale()
                    return answer
        finally:
            del self._lookups[n]

    def read_history(self) -> History:
        """The journal of the attempts before this one. Raises as `lookup` does."""
        fields, ends, *_ = self.lookup("history")
        return History.of(fields, ends)

    # -- parked, or not ---------------------------------------------------------------------------------------------------

    def note_parked(self) -> None:
        """Its code is left, or entered again, if the worker has said so."""
        if self._away != self._flow.parked:
            self._away = self._flow.parked
            (self.run.leave_code if self._away else self.run.enter_code)(monotonic())
            self._moved_over()

    def go_on(self) -> None:
        """Its code goes on, and the worker knows or is to be informed by others."""
        self._flow.awake()
        self.note_parked()

    @abstractmethod
    def _moved_over(self) -> None:
        """It is parked, or no longer."""

    def _warn(self, text: str) -> None:
        self.run.log("warning", text)


class StepFiles:
    """The files that steps have made (see `models.file_schema.Attached`). What a step says of them does not tell where they lie."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._known: dict[str, FileRef] = {}

    def open(self, ref: FileRef) -> BinaryIO:
        """The stored bytes, for reading. Raises as `JobFiles.open` does."""
        return self._steps.run.files.open(self._whole(ref))

    def path(self, ref: FileRef, suffix: str) -> Path:
        """A copy of its own, which may be changed."""
        return self._steps.run.files.path(self._whole(ref), suffix)

    def _whole(self, ref: FileRef) -> FileRef:
        if ref.key:
            return ref
        known = self._known.get(ref.id)
        if known is None:
            (found,) = self._steps.lookup("files", [ref.id])
            self._known |= {file_id: FileRef.of(members) for file_id, members in orjson.loads(found).items()}
            known = self._known.get(ref.id, ref)
        return known


def start_of(run: Run, model: str, code: str) -> Start:
    """What is known of the steps of a run when it begins."""
    epoch, again, origin, _, child = run.flow or (0, 0, "", False, False)
    return Start(run.id, model, code, epoch, again, origin if origin != "-" else "", bool(child))
