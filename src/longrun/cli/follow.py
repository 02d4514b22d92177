"""Follow a job to its end: its place while it waits in the queue, then its events."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longrun.cli.show import Watch
    from longrun.client import RemoteJob

_NOT_STARTED = frozenset({"scheduled", "queued"})
_LOOK = 2.0  # seconds after which the position in the queue is read again


def follow(job: RemoteJob, watcher: Watch) -> None:
    """Wait for the end of `job` and show the way there; `job` then is as it ended.

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
