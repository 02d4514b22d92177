"""One claimed job inside the worker."""

from __future__ import annotations

import time
from typing import Any, Literal, Protocol

from longrun.store.claims import Claim

StopReason = Literal["canceled", "timeout", "lost"]


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
        deadline: monotonic time by which it must have ended; None until user code runs. `limit` says in words which limit that is.
        stop: why it was told to stop, if it was.
        events: not yet sent to the store; `appended` counts those that were.
        settled: an outcome is on its way to the store; whatever the runner still says is ignored.
    """

    __slots__ = (
        "appended",
        "batch",
        "claim",
        "deadline",
        "events",
        "flushing",
        "key",
        "limit",
        "progress",
        "run_s",
        "settled",
        "since",
        "sink",
        "started",
        "stop",
        "stop_at",
        "stop_step",
    )

    def __init__(self, claim: Claim, sink: Sink, key: tuple[Any, ...]) -> None:
        self.claim, self.sink, self.key = claim, sink, key
        self.since = time.monotonic()
        self.started: float | None = None
        self.deadline: float | None = None
        self.limit = ""
        self.stop: StopReason | None = None
        self.stop_at, self.stop_step = 0.0, 0
        self.events: list[tuple[str, bytes]] = []
        self.appended, self.progress = 0, b""
        self.flushing = self.settled = False
        self.run_s = 0.0
        self.batch = 0

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
        self.deadline = now + policy.timeout
        self.limit = f"timeout of {policy.timeout:g} s"
        if policy.total_timeout is not None:
            waited = (self.claim.claimed - self.claim.created) / 1000 + (now - self.since)
            end = now + max(0.0, policy.total_timeout - waited)
            if end < self.deadline:
                self.deadline, self.limit = end, f"total_timeout of {policy.total_timeout:g} s"
