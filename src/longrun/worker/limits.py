"""Stopping a run: cancel, time limits, lost leases. Three steps: a flag, an exception in the running code, the end of the runner."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from longrun.worker.engine import Engine
    from longrun.worker.lane import Lane
    from longrun.worker.run import Run, StopReason
    from longrun.worker.seat import Seat

log = structlog.get_logger("longrun.worker")
_TICK = 0.1
#: Seconds after the request until the exception, and until the runner is killed.
_EXCEPTION_AFTER = 0.3
_KILL_AFTER = 1.0
#: A runner that answered no ping for this long holds the GIL: only a kill stops what it runs.
_DEAF_AFTER = 1.5


class Limits:
    """See the module."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def watch_for_ever(self) -> None:
        """Look after deadlines and after runs that were told to stop."""
        pinged = 0.0
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            if now - pinged > 0.5:
                pinged = now
                for seat in self._engine.seats:
                    if seat.process is not None and not seat.empty:
                        seat.process.send("ping", 0)
                    elif seat.process is not None:
                        seat.pong_at = now
            for seat in self._engine.seats:
                for run in seat.runs():
                    if run.stop is None and run.deadline is not None and now >= run.deadline:
                        self.request_stop(run, "timeout")
                    elif run.stop is not None:
                        self._escalate(seat, run, now)

    def request_stop(self, run: Run, reason: StopReason) -> None:
        """First step. A run that waits here is settled at once, and so is one item of a running batch: its result is fenced."""
        if run.stop is not None or run.settled:
            return
        run.stop, run.stop_at, run.stop_step = reason, time.monotonic(), 1
        engine = self._engine
        lane, _ = engine.runs.get(run.id, (None, None))
        if lane is None:
            return
        if run in lane.pending:
            lane.forget(run)
            engine.settler.stopped(lane, run)
            for place in lane.seats:
                engine.recount(place)
            return
        seat = self._seat_of(lane, run)
        if seat is None:
            return
        mates = [other for other in seat.aboard.get(lane, {}).values() if other.batch == run.batch and other is not run]
        if lane.batched is not None and mates and reason != "timeout":
            engine.settler.stopped(lane, run)
        else:
            seat.tell_to_stop(run)

    def _escalate(self, seat: Seat, run: Run, now: float) -> None:
        waited = now - run.stop_at
        if run.settled and run.stop_step >= 1:
            return
        if run.stop_step == 1 and waited >= _EXCEPTION_AFTER:
            run.stop_step = 2
            seat.tell_to_stop(run)
        elif run.stop_step == 2 and waited >= _KILL_AFTER:
            others = [other for other in seat.runs() if other is not run and other.stop is None and other.started is not None]
            if others and now - seat.pong_at < _DEAF_AFTER:
                # It holds work that nobody wants stopped: the job ends for its caller, the rest of it is fenced.
                lane, _ = self._engine.runs[run.id]
                run.stop_step = 3
                self._engine.settler.stopped(lane, run)
                return
            run.stop_step = 3
            assert run.stop is not None
            log.warning("runner killed to stop a job", job_id=run.id, reason=run.stop, pid=seat.process.pid if seat.process else 0)
            seat.kill({other.id: other.stop for other in seat.runs() if other.stop is not None})

    def _seat_of(self, lane: Lane, run: Run) -> Seat | None:
        return next((seat for seat in lane.seats if seat.find(run.id, run.attempt) is run), None)
