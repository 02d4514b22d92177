"""The states of a job and the moves between them. The scripts of `longrun.store` obey this table; a test compares the two."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a job is."""

    SCHEDULED = "scheduled"  #: waits for its `delay` to pass
    QUEUED = "queued"  #: waits for a worker
    RUNNING = "running"  #: a worker has claimed it
    WAITING = "waiting"  #: waits for its steps: in a worker, or held by nobody (`asleep` in the store)
    RETRYING = "retrying"  #: failed, and runs again at `next_attempt_at`
    CANCELING = "canceling"  #: asked to stop while running
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"  #: did not start within `start_within`, or waited past its `total_timeout`


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.EXPIRED})
#: Terminal states from which `retry` makes a new job.
RETRYABLE = frozenset({Status.FAILED, Status.CANCELED, Status.EXPIRED})

#: Every legal move. Terminal states have none: a finished job never changes.
MOVES: dict[Status, frozenset[Status]] = {
    Status.SCHEDULED: frozenset({Status.QUEUED, Status.CANCELED, Status.EXPIRED}),
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELED, Status.EXPIRED}),
    Status.RUNNING: frozenset(
        {Status.SUCCEEDED, Status.FAILED, Status.RETRYING, Status.QUEUED, Status.WAITING, Status.CANCELING, Status.CANCELED}
    ),
    Status.WAITING: frozenset({Status.RUNNING, Status.QUEUED, Status.CANCELING, Status.CANCELED, Status.FAILED, Status.EXPIRED}),
    Status.RETRYING: frozenset({Status.QUEUED, Status.CANCELED, Status.EXPIRED}),
    Status.CANCELING: frozenset({Status.SUCCEEDED, Status.CANCELED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELED: frozenset(),
    Status.EXPIRED: frozenset(),
}


#: How the store says that a waiting job is held by no worker. Scripts need the difference, nobody else does.
ASLEEP = b"asleep"


def status_of(stored: bytes) -> Status:
    """The status that the field of a record holds."""
    return Status.WAITING if stored == ASLEEP else Status(stored.decode())
