"""What a runner prints, and which of its jobs said it.

Python's streams know the job by a context variable, which async tasks and `asyncio.to_thread` inherit. What comes through the file
descriptors 1 and 2 (C code, programs) belongs to the job that runs, if it is the only one. What cannot be told apart, or was said between
jobs, reaches the operator's log alone: see docs/decisions/0013-captured-output.md.
"""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

from longrun.worker.runner.descriptors import Descriptors
from longrun.worker.runner.offspring import Offspring

if TYPE_CHECKING:
    from longrun.worker.runner.running import Running
    from longrun.worker.runner.streams import Stream

#: Who speaks here: a job, False = nobody that a caller may hear, None = not known.
speaker: ContextVar[Running | Literal[False] | None] = ContextVar("speaker", default=None)


class Capture:
    """Knows who speaks.

    Args:
        descriptors: what comes through them; None = nothing is captured.

    Attributes:
        lock: of all that is said in this process. It may be taken again by the thread that has it: collecting garbage can print.
        forked: this is a child that the model forked. It has no threads of ours, and what it prints goes through its descriptors.
        streams: what stands in for `sys.stdout` and `sys.stderr`.
    """

    def __init__(self, descriptors: Descriptors | None = None) -> None:
        self.lock = threading.RLock()
        self.forked = False
        self.streams: list[Stream] = []
        self._descriptors = descriptors
        self._offspring = Offspring()
        self._here: set[Running] = set()
        self._alone: Running | None = None
        self._changes = 0
        if descriptors is not None:
            descriptors.start(self.lock, self._hear)
        os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        # Whoever held the lock in the parent does not exist here.
        self.forked, self.lock = True, threading.RLock()

    def loaded(self) -> None:
        """The models are loaded: processes that they have started until now are not left behind by a job."""
        if self._descriptors is not None:
            self._offspring.know()

    # -- jobs come and go -------------------------------------------------------------------------------------------------

    def enter(self, group: list[Running]) -> None:
        """The code of `group` begins, on this thread or in this task."""
        if self._descriptors is None:
            return
        with self.lock:
            self._descriptors.drain()
            self._here.update(group)
            self._count()
        speaker.set(group[0] if len(group) == 1 else False)

    def leave(self, running: Running) -> None:
        """Its code has ended. All that it has written to the descriptors has been heard when this returns."""
        if self._descriptors is None or running not in self._here:
            return
        with self.lock:
            self._descriptors.drain()
            for stream in self.streams:
                stream.pass_on()
            self._here.discard(running)
            self._offspring.look()
            self._count()
        speaker.set(False)

    def _count(self) -> None:
        self._changes += 1
        only = next(iter(self._here)) if len(self._here) == 1 else None
        # The members of a batch may be of different tenants.
        self._alone = only if only is not None and len(only.group) == 1 else None

    # -- who speaks -------------------------------------------------------------------------------------------------------

    def current(self) -> Running | None:
        """The job whose code this is, as far as its caller may hear it."""
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
        """Hear what was written to the descriptors until now; to be called under the lock, before anything else that the job says."""
        if self._descriptors is not None and self._alone is not None:
            self._descriptors.drain()

    def _hear(self, source: int, data: bytes) -> None:
        if self._alone is not None and not self._offspring.strangers:
            self._alone.hear(source, data)
