"""Follow a job to its end: its place while it waits in the queue, then its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from longrun.client import Event, RemoteJob

_NOT_STARTED = frozenset({"scheduled", "queued"})
_LOOK = 2.0  # seconds after which the position in the queue is read again


class Watcher(Protocol):
    """Whom `follow` tells what happens."""

    def on_job(self, job: RemoteJob) -> None:
        """The job as it is now."""

    def on_event(self, event: Event) -> None:
        """One event of the job's log, in order, each once."""


def follow(job: RemoteJob, watcher: Watcher) -> None:
    """Wait for the end of `job`, which then is as it ended.

    Raises:
        Unreachable: the server has not answered for 10 s; the job goes on without us.
        ApiError: the server no longer shows the job.
    """
    watcher.on_job(job)
    while job.status in _NOT_STARTED:
        watcher.on_job(job.refresh(wait=_LOOK))
    if not job.terminal:
        for event in job.events():
            watcher.on_event(event)
    job.wait()
