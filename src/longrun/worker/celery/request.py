"""A ticket as Celery's worker knows it: what `inspect`, `revoke`, events and Flower need of a `celery.worker.request.Request`, and no more.

Celery's own is made for tasks that its pools run; building one, and leading it through the consumer, costs more than all the rest of a
job's way through this process. See docs/decisions/0018-tickets-past-celerys-consumer.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from celery.worker import state

from longrun.log import Log
from longrun.queues.celery.tickets import task_name
from longrun.worker.engine import Engine

log = Log("longrun.worker")


@dataclass(slots=True, weakref_slot=True, eq=False, repr=False)
class TicketRequest:
    """One ticket in this worker: Celery's `Request`, and the engine's `Sink`. All methods are called on the hub's thread."""

    args: ClassVar[tuple[()]] = ()
    kwargs: ClassVar[dict[str, Any]] = {}
    stamped_headers: ClassVar[tuple[()]] = ()
    stamps: ClassVar[dict[str, Any]] = {}
    eta: ClassVar[None] = None
    expires: ClassVar[None] = None

    consumer: Any  #: Celery's
    lane: str  #: where the ticket came from
    level: int  #: kombu's priority, 0 the most urgent
    id: str  #: the job's; Celery's task id
    name: str = field(init=False)
    eventer: Any = field(init=False)  #: Celery's dispatcher of events, which replaces it when the broker was away
    time_start: float | None = None  #: wall clock at which a runner got the job, and that runner's process id
    worker_pid: int | None = None
    acknowledged: bool = False  #: it has left the worker
    _terminate_with: tuple[Any, Any] | None = None  #: pool and signal of a `terminate` that came before a runner had the job

    def __post_init__(self) -> None:
        self.name, self.eventer = task_name(self.lane.partition(".")[2]), self.consumer.event_dispatcher

    @property
    def task(self) -> Any:
        """Celery's task object."""
        return self.consumer.app.tasks[self.name]

    @property
    def hostname(self) -> str:
        """The worker's name."""
        return str(self.consumer.hostname)

    @property
    def delivery_info(self) -> dict[str, Any]:
        """Where it came from, in Celery's words."""
        return {"exchange": "", "routing_key": self.lane, "priority": self.level, "redelivered": False}

    def info(self, safe: bool = False) -> dict[str, Any]:
        """What `inspect` shows."""
        return {
            "id": self.id,
            "name": self.name,
            "args": "" if safe else [],
            "kwargs": "" if safe else {},
            "type": self.name,
            "hostname": self.hostname,
            "time_start": self.time_start,
            "acknowledged": self.acknowledged,
            "delivery_info": self.delivery_info,
            "worker_pid": self.worker_pid,
        }

    def humaninfo(self) -> str:
        """How Celery's log names it."""
        return f"{self.name}[{self.id}]"

    __str__ = humaninfo

    # -- what becomes of it -----------------------------------------------------------------------------------------------

    def reserve(self) -> bool:
        """It came in. False: it was revoked, and goes no further."""
        if self.id in state.revoked:
            self._event("task-revoked", terminated=False, signum=None, expired=False)
            return False
        state.requests[self.id] = self
        state.reserved_requests.add(self)
        fields = {"root_id": self.id, "parent_id": None, "retries": 0, "eta": None, "expires": None}
        self._event("task-received", name=self.name, args="", kwargs="", **fields)
        return True

    def accepted(self, pid: int, at: float) -> None:
        """See `Sink`."""
        self.worker_pid, self.time_start = pid, time.time() - (time.monotonic() - at)
        state.active_requests.add(self)
        state.total_count[self.name] += 1
        state.all_total_count[0] += 1
        self._event("task-started")
        if self._terminate_with is not None:
            self.terminate(*self._terminate_with)

    def finished(self, status: str, run_s: float | None) -> None:
        """See `Sink`. Outputs stay out of Celery's events."""
        self._left()
        if status == "succeeded":
            self._event("task-succeeded", result=status, runtime=run_s)
        elif status in ("queued", "retrying", "asleep"):
            self._event("task-retried", exception=f"WorkerLostError('{status}')", traceback="")
        elif status in ("failed", "expired"):
            self._event("task-failed", exception=f"RuntimeError('{status}')", traceback="")

    def stale(self) -> None:
        """See `Sink`: without an event."""
        self._left()

    def _left(self) -> None:
        self.acknowledged = True
        if state.requests.get(self.id) is self:
            del state.requests[self.id]
        state.active_requests.discard(self)
        state.reserved_requests.discard(self)

    def _event(self, kind: str, **fields: Any) -> None:
        eventer = self.eventer
        if eventer is not None and eventer.enabled and (not eventer.groups or "task" in eventer.groups):
            eventer.send(kind, uuid=self.id, **fields)

    # -- remote control ---------------------------------------------------------------------------------------------------

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """`celery control revoke(terminate=True)`: stop this job and no other, although its process is shared."""
        if self.time_start is not None:
            self._left()
            self._event("task-revoked", terminated=True, signum=signal, expired=False)
        else:
            # It may be claimed at this moment, however long that takes; and the store knows nothing of a revoke.
            self._terminate_with = pool, signal
        pool.stop_job(self.id)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Celery gives its running tasks up when it is stopped at once."""
        if self.time_start is not None:
            self._left()
            self._event("task-cancelled")
        pool.stop_job(self.id)


def take(consumer: Any, engine: Engine, tickets: Iterable[tuple[str, int, str]]) -> None:
    """Hand tickets (lane, level, job id) to the engine. An empty id: a message that names no job, which somebody else has sent."""
    taken = []
    for lane, level, job_id in tickets:
        if not job_id:
            log.warning("a message that names no job was dropped", lane=lane)
            continue
        request = TicketRequest(consumer, lane, level, job_id)
        if request.reserve():
            taken.append((lane, job_id, request))
        else:
            engine.cancel_waiting(job_id)
    engine.take(taken)
