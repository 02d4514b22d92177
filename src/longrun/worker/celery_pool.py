"""The seam to Celery: a pool whose `on_apply` hands tickets to the engine.

Everything else of a Celery worker stays native: `inspect`, `stats`, events, Flower, revoke, warm stop. What each hook must do, and in
what order, is in `docs/decisions/0003-the-seam-to-celery.md`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import bootsteps
from celery.concurrency.base import BasePool
from celery.exceptions import Ignore, Retry, WorkerLostError
from celery.platforms import EX_OK
from celery.signals import task_revoked
from celery.worker import state

from longrun.queues.celery.transport import task_channel
from longrun.worker.engine import Engine, WorkerPlan


def _einfo(error: Exception) -> ExceptionInfo:
    try:
        raise error
    except Exception:
        return ExceptionInfo()


_IGNORED = _einfo(Ignore())
#: Started by `nohup`: the end of its terminal is no reason to stop. Celery has overwritten that by the time the pool starts.
_NOHUP = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


class TicketSink:
    """Celery's callbacks under the engine's names; also the handle that Celery's request keeps a weak reference to."""

    __slots__ = ("__weakref__", "_accept", "_callback", "_engine", "_job_id")

    def __init__(self, engine: Engine, job_id: str, accept: Callable[..., None], callback: Callable[..., None]) -> None:
        self._engine, self._job_id, self._accept, self._callback = engine, job_id, accept, callback

    def accepted(self, pid: int, at: float) -> None:
        """See `Sink`."""
        self._accept(pid, at)

    def finished(self, status: str, run_s: float) -> None:
        """See `Sink`. Outputs stay out of Celery's events."""
        if status == "succeeded":
            self._callback((False, "succeeded", run_s))
        elif status in ("queued", "retrying"):
            self._callback((True, _einfo(Retry(status, WorkerLostError(status))), run_s))
        elif status in ("failed", "expired"):
            self._callback((True, _einfo(RuntimeError(status)), run_s))
        else:
            self._callback((True, _IGNORED, run_s))

    def stale(self) -> None:
        """See `Sink`: acks, without an event."""
        self._callback((True, _IGNORED, 0))

    def terminate(self, signal: Any = None) -> None:
        """`celery control revoke(terminate=True)`: stop this job and no other."""
        self._engine.loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        found = self._engine.runs.get(self._job_id)
        if found is not None:
            self._engine.limits.request_stop(found[1], "canceled")


class TicketPool(BasePool):  # type: ignore[misc]
    """Celery's pool. The plan travels in the application's configuration (`longrun_plan`)."""

    body_can_be_buffer = True
    signal_safe = True

    def on_start(self) -> None:
        """Start the engine."""
        plan: WorkerPlan = self.app.conf.longrun_plan
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self.engine = Engine(plan, self._wake)
        self.engine.start()
        task_revoked.connect(self._on_revoked, weak=False)
        # Celery's own handlers are there already. Theirs take effect when the hub turns next, and a second SIGTERM says nothing new.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        # Celery's would start the worker anew.
        signal.signal(signal.SIGHUP, signal.SIG_IGN if _NOHUP else self._on_hangup)

    def _on_signal(self, *_: Any) -> None:
        """Told to stop: no more work from now on. Told again: no waiting for running jobs."""
        state.should_stop = EX_OK  # Celery's warm stop, which ends in `on_stop`
        self.engine.leave_off()

    def _on_hangup(self, *_: Any) -> None:
        """Whoever started us is gone, a terminal or `serve`; its store may go too. Nothing is worth waiting for."""
        self._on_signal()
        self._on_signal()

    def _wake(self) -> None:
        try:
            os.write(self._write_fd, b"x")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def register_with_event_loop(self, hub: Any) -> None:
        """Called again after every reconnect, when the hub has dropped its readers."""
        hub.add_reader(self._read_fd, self._on_wake)

    def _on_wake(self) -> None:
        try:
            os.read(self._read_fd, 65536)
        except BlockingIOError:
            return
        finally:
            self.engine.pump()

    def on_apply(self, target: Any, args: Any, kwargs: Any, *, accept_callback: Any = None, callback: Any = None, **_: Any) -> TicketSink:
        """A ticket. `target` is Celery's tracer, which would run a task body here; jobs run in runners."""
        job_id = args[1]
        lane = accept_callback.__self__.delivery_info["routing_key"]
        sink = TicketSink(self.engine, job_id, accept_callback, callback)
        # Celery keeps a weak reference only.
        accept_callback.__self__.longrun_sink = sink
        self.engine.take(lane, job_id, sink)
        return sink

    def _on_revoked(self, request: Any = None, terminated: bool = False, **_: Any) -> None:
        """Celery drops the ticket of a revoked job that has not started. The job must not wait for ever because of that."""
        if request is not None and not terminated:
            engine = self.engine
            engine.loop.call_soon_threadsafe(lambda: engine.spawn(engine.settler.cancel_waiting(request.id)))

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Nothing: `pid` is a runner that may hold other jobs too. The handle's `terminate` stops exactly the job that was meant."""

    def on_stop(self) -> None:
        """Warm or cold stop; a cold one calls this inside the signal handler, then `on_terminate`."""
        self.engine.stop(0 if state.should_terminate else self.engine.settings.grace)

    def on_terminate(self) -> None:
        """Cold stop."""
        self.engine.stop(0)

    @property
    def num_processes(self) -> int:
        """Slots; Celery sizes nothing by it here."""
        return max(1, sum(lane.capacity for lane in self.engine.lanes.values()))

    def _get_info(self) -> dict[str, Any]:
        lanes = self.engine.lanes.values()
        return {
            **super()._get_info(),
            "max-concurrency": sum(lane.capacity for lane in lanes),
            "processes": [seat.process.pid for seat in self.engine.seats if seat.process],
            "lanes": {lane.name: {"slots": lane.capacity, "held": lane.held} for lane in lanes},
        }


class ServeLanes(bootsteps.StartStopStep):  # type: ignore[misc]
    """Has the task channel take tickets by script; again after every reconnect, since the channel is a new one then."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Called when the consumer's channel is there, before the loop turns."""
        engine: Engine = consumer.pool.engine
        script = engine.store.pop_script
        channel = task_channel(consumer)
        wake = engine.store.wake_prefix
        channel.serve_lanes(engine.free_slots, (script.source, script.sha), wake, f"{wake}@{engine.plan.name}")
        engine.serve = channel

    def stop(self, consumer: Any) -> None:
        """Called before the connection is closed: tickets that are on their way are taken, so that the engine can put them back."""
        if consumer.pool.engine.closing and consumer.connection is not None:
            task_channel(consumer).end_trip()
