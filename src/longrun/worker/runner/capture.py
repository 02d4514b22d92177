"""What a runner prints, and which of its runs said it.

Python's streams know the run by a context variable, which async tasks and `asyncio.to_thread` inherit. What comes through the file
descriptors 1 and 2 (C code, programs) belongs to the job that runs, if it is the only one. Where the speaker is not known, or no job runs,
the output reaches the operator's log alone: see docs/decisions/0013-captured-output.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Literal, Protocol

from longrun.worker.runner.children import forked
from longrun.worker.runner.descriptors import Descriptors
from longrun.worker.runner.offspring import Offspring


class Speaker(Protocol):
    """What is asked of a run here, and where events are sent."""

    @property
    def group(self) -> Sequence[Speaker]:
        """Those that share its call of `predict`."""

    @property
    def closed(self) -> bool:
        """Its code has ended."""

    def written(self, source: int, data: bytes) -> None:
        """Its code has written this to a stream or descriptor, `source`."""

    def log(self, level: str, message: str) -> None:
        """A line for its caller."""

    def flush(self) -> None:
        """Send what waits to be sent."""


#: Whose code runs here: a job's, False = nobody's that a caller may hear, None = not known.
speaker: ContextVar[Speaker | Literal[False] | None] = ContextVar("speaker", default=None)


class Capture:
    """Knows who speaks.

    Args:
        descriptors: what comes through them; None = nothing is captured.

    Attributes:
        lock: of all that is said in this process. It may be taken again by the thread that has it: collecting garbage can print. A forked
            child never takes it.
        pass_on: called when code has ended, to have the lines that it has begun.
    """

    def __init__(self, descriptors: Descriptors | None = None) -> None:
        self.lock = threading.RLock()
        self.pass_on: list[Callable[[], None]] = []
        self._descriptors = descriptors
        self._offspring = Offspring()
        self._here: set[Speaker] = set()
        self._alone: Speaker | None = None
        self._changes = 0
        if descriptors is not None:
            descriptors.start(self.lock, self._written)

    def loaded(self) -> None:
        """The models are loaded: processes that they have started until now are not left behind by a job."""
        if self._descriptors is not None:
            self._offspring.know()

    # -- jobs come and go -------------------------------------------------------------------------------------------------

    def enter(self, group: Sequence[Speaker]) -> None:
        """The code of `group` begins, on this thread or in this task."""
        if self._descriptors is None:
            return
        with self.lock:
            self._descriptors.drain()
            self._here.update(group)
            self._count()
        speaker.set(group[0] if len(group) == 1 else False)

    def leave(self, run: Speaker) -> None:
        """Its code has ended. All that it has written to the descriptors has been read when this returns."""
        if self._descriptors is None or run not in self._here:
            return
        with self.lock:
            self._descriptors.drain()
            for pass_on in self.pass_on:
                pass_on()
            self._here.discard(run)
            self._offspring.look()
            self._count()
        speaker.set(False)

    def _count(self) -> None:
        self._changes += 1
        only = next(iter(self._here)) if len(self._here) == 1 else None
        # The members of a batch may be of different tenants.
        self._alone = only if only is not None and len(only.group) == 1 else None

    # -- who speaks -------------------------------------------------------------------------------------------------------

    def current(self) -> Speaker | None:
        """The job whose code this is, as far as its caller may hear it. A forked child has no way to its worker."""
        if forked():
            return None
        who = speaker.get()
        if who is None:
            # A thread that a job has started is its own while nobody else has run: pools live on, and work for others then.
            who, changes = getattr(threading.current_thread(), "longrun_job", (None, 0))
            if changes != self._changes:
                return None
        return who if who and not who.closed else None

    def mark(self, thread: threading.Thread) -> None:
        """The job that runs alone is about to start a thread."""
        if self._alone is not None and self.current() is self._alone:
            thread.longrun_job = (self._alone, self._changes)  # type: ignore[attr-defined]

    def drain(self) -> None:
        """Read what was written to the descriptors until now; to be called under the lock, before anything else that the job says."""
        if self._descriptors is not None and self._alone is not None:
            self._descriptors.drain()

    def _written(self, source: int, data: bytes) -> None:
        if self._alone is not None and not self._offspring.strangers:
            self._alone.written(source, data)
