"""The seam to Celery: a pool whose engine runs what tickets name, and a step that hands them to it.

Everything else of a Celery worker stays native: `inspect`, `stats`, events, Flower, revoke, warm stop. What each hook must do, and in
what order, is in `docs/decisions/0003-the-seam-to-celery.md`.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Any

from celery import bootsteps
from celery.concurrency.base import BasePool
from celery.platforms import EX_OK
from celery.worker import state

from longrun.queues.celery.transport import task_channel
from longrun.worker.celery.request import take
from longrun.worker.engine import Engine
from longrun.worker.plan import WorkerPlan

#: Started by `nohup`: the end of its terminal is no reason to stop. Celery has overwritten that by the time the pool starts.
_NOHUP = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


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
        # For processes of Celery's own pools. Runners get our environment, and so does what models start.
        for name in [name for name in os.environ if name.startswith(("CELERY_LOG_", "_MP_FORK_LOG"))]:
            del os.environ[name]
        self.engine = Engine(plan, self._wake)
        self.engine.start()
        # Celery's own handlers are there already. Theirs take effect when the hub turns next, and a second SIGTERM says nothing new.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        # Celery's would start the worker anew.
        signal.signal(signal.SIGHUP, signal.SIG_IGN if _NOHUP else self._on_hangup)

    def _on_signal(self, *_: Any) -> None:
        """Asked to stop: no more work from now on. Asked again: no waiting for running jobs."""
        state.should_stop = EX_OK  # Celery's warm stop, which ends in `on_stop`
        self.engine.stop_taking()

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

    def stop_job(self, job_id: str) -> None:
        """Stop this job, if it is here, and no other."""
        self.engine.cancel(job_id)

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Nothing: `pid` is a runner that may hold other jobs too. The request's `terminate` stops exactly the job that was meant."""

    def on_stop(self) -> None:
        """Warm or cold stop; a cold one calls this inside the signal handler, then `on_terminate`."""
        self.engine.stop(0 if state.should_terminate else self.engine.settings.grace)

    def on_terminate(self) -> None:
        """Cold stop."""
        self.engine.stop(0)

    @property
    def num_processes(self) -> int:
        """Slots; Celery sizes nothing by it here."""
        return max(1, sum(lane.capacity for lane in self.engine.tables.lanes.values()))

    def _get_info(self) -> dict[str, Any]:
        lanes = self.engine.tables.lanes.values()
        return {
            **super()._get_info(),
            "max-concurrency": sum(lane.capacity for lane in lanes),
            "processes": [seat.pid for seat in self.engine.tables.seats if seat.process],
            "lanes": {lane.name: {"slots": lane.capacity, "held": lane.held} for lane in lanes},
        }


class ServeLanes(bootsteps.StartStopStep):  # type: ignore[misc]
    """Has the task channel take tickets by script; again after every reconnect, since the channel is a new one then."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Called when the consumer's channel is there, before the loop turns."""
        engine: Engine = consumer.pool.engine
        channel = task_channel(consumer)
        wake = engine.store.wake_prefix

        def pop() -> tuple[bytes, str]:
            script = engine.store.pop_script
            return script.source, script.sha

        channel.serve_lanes(engine.free_slots, partial(take, consumer, engine), pop, wake, f"{wake}@{engine.plan.identity}")
        engine.hand_in = lambda found: take(consumer, engine, [(each.lane, int(each.level), each.id) for each in found])
        engine.channel_waits = lambda: channel.trip == "wait"

    def stop(self, consumer: Any) -> None:
        """Called before the connection is closed: tickets that are on their way are taken, so that the engine can put them back."""
        if consumer.pool.engine.tables.closing and consumer.connection is not None:
            task_channel(consumer).end_trip()
