"""One claimed job inside the worker."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import Any, Literal, Protocol

from longrun.jobs.failure import StoppedBy
from longrun.store.claims import Claim

StopReason = Literal["canceled", "timeout", "lost"]
#: Shortest time in seconds between flag and exception.
_LEAST = 0.1


class Sink(Protocol):
    """Whom the worker tells about a ticket: Celery's request, behind the seam. Methods are called on the hub's thread."""

    def accepted(self, pid: int, at: float) -> None:
        """The job was handed to the runner `pid` at monotonic time `at`."""

    def finished(self, status: str, run_s: float) -> None:
        """The job left the worker; `status` is what the store says of it now."""

    def stale(self) -> None:
        """The ticket named nothing that can be claimed."""


class Run:
    """A claimed job: what it needs to run, and what has happened to it here.

    Attributes:
        deadline: monotonic time at which it is told to stop; None until user code runs. `limit` says in words which limit that is.
        hard: monotonic time by which it must have ended: the deadline, unless there is a `soft_timeout`. `hard_limit` says which limit.
        stop: why it was told to stop, if it was, and at `stop_at`; an exception is raised in its code at `exception_at`, and its runner is
            ended at `kill_at`.
        stopped_by, run_s, stop_s: how it was stopped, how long it had run, and how long stopping took.
        events: not yet sent to the store; `appended` counts those that were, `waiting` the bytes of their data. The first `offered` of them
            were sent once, and may have arrived. `left_out` counts lines that were too many to be kept.
        files: events of files that the store has not confirmed; `writing` counts the writes under way.
        usage: sums that the model has reported so far (JSON).
        batch, batch_size: number of the batch that it was sent in, and how many items that had; 0 = none.
        settled: an outcome is on its way to the store; whatever the runner still says is ignored.
    """

    __slots__ = (
        "appended",
        "batch",
        "batch_size",
        "claim",
        "deadline",
        "events",
        "exception_at",
        "files",
        "flushing",
        "hard",
        "hard_limit",
        "interrupted",
        "key",
        "kill_at",
        "left_out",
        "limit",
        "offered",
        "progress",
        "run_s",
        "settled",
        "since",
        "sink",
        "started",
        "stop",
        "stop_at",
        "stop_s",
        "stopped_by",
        "usage",
        "waiting",
        "writing",
    )

    def __init__(self, claim: Claim, sink: Sink, key: tuple[Any, ...]) -> None:
        self.claim, self.sink, self.key = claim, sink, key
        self.since = time.monotonic()
        self.started: float | None = None
        self.deadline: float | None = None
        self.hard: float | None = None
        self.limit = self.hard_limit = ""
        self.stop: StopReason | None = None
        self.stop_at = self.exception_at = self.kill_at = 0.0
        self.interrupted = False
        self.stopped_by: StoppedBy | None = None
        self.stop_s = 0.0
        self.events: deque[tuple[str, bytes]] = deque()
        self.appended = self.waiting = self.offered = self.left_out = 0
        self.files = self.writing = 0
        self.progress = self.usage = b""
        self.flushing = self.settled = False
        self.run_s = 0.0
        self.batch = self.batch_size = 0

    @property
    def id(self) -> str:
        """The job's id."""
        return self.claim.id

    @property
    def attempt(self) -> int:
        """The fencing number."""
        return self.claim.attempt

    def begin(self, now: float) -> None:
        """User code runs from now on: the time limit counts."""
        policy = self.claim.policy
        self.started = now
        self.hard, self.hard_limit = now + policy.timeout, f"timeout of {policy.timeout:g} s"
        if policy.total_timeout is not None:
            waited = (self.claim.claimed - self.claim.created) / 1000 + (now - self.since)
            end = now + max(0.0, policy.total_timeout - waited)
            if end < self.hard:
                self.hard, self.hard_limit = end, f"total_timeout of {policy.total_timeout:g} s"
        self.deadline, self.limit = self.hard, self.hard_limit
        if policy.soft_timeout is not None and now + policy.soft_timeout < self.hard:
            self.deadline, self.limit = now + policy.soft_timeout, f"soft_timeout of {policy.soft_timeout:g} s"

    def begin_anew(self, group: str) -> None:
        """It is to run again, with whom it shares `group` alone: as if it had not begun."""
        self.claim = replace(self.claim, suspect=group)
        self.started = self.deadline = self.hard = None
        self.batch = self.batch_size = 0

    def tell(self, reason: StopReason, now: float, grace: float) -> None:
        """It is told to stop: an exception comes after a third of the grace, the end of its runner after it, or at the hard limit."""
        self.stop, self.stop_at, self.interrupted = reason, now, False
        self.exception_at = now + min(grace, max(_LEAST, grace / 3))
        self.kill_at = self.hard if reason == "timeout" and self.hard is not None and self.hard > now else now + grace

    def has_stopped(self, by: StoppedBy, now: float) -> None:
        """Note how it was stopped, and the figures of that. A run that had not begun tells none."""
        if self.started is None:
            return
        self.stopped_by = by
        self.run_s = now - self.started
        self.stop_s = now - self.stop_at
