"""Carries out how a job is stopped, see `stopping`: looks after time limits, and after the runs that were asked to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from longrun.log import Log
from longrun.worker.dispatch.lane import Lane
from longrun.worker.run import Run
from longrun.worker.settle import Settler
from longrun.worker.stopping import Company, StopReason, counts, last_step
from longrun.worker.supervise.seat import Seat
from longrun.worker.tables import Recount, Tables

log = Log("longrun.worker")
_TICK = 0.1
_PING = 0.25
#: A runner that has answered no ping of the last so many seconds (or of the grace, if that is longer) is deaf: one of its threads keeps
#: the GIL, or its event loop is blocked. What else it holds is stuck too.
_HEARS_WITHIN = 1.0
#: So many seconds from one look to the next say that this process itself had no core. It does not hold that against its runners.
_LATE = 0.5


def excuse(seats: Iterable[Seat], since: float, span: float) -> None:
    """The worker stood still for `span` seconds after `since`: they count neither as silence of its runners nor as time to stop for a run.

    What has begun after that has its full time anyway.
    """
    for seat in seats:
        if seat.pong_at <= since:
            seat.pong_at += span
        for run in seat.runs():
            if run.stop is not None and run.stop_at <= since:
                run.exception_at += span
                run.kill_at += span
            if run.leaves and run.leaves <= since:
                run.leaves += span


@dataclass(slots=True)
class Limits:
    """See the module."""

    tables: Tables
    grace: float  #: seconds from the request to stop to the last step
    settler: Settler  #: writes how a run has ended, or gives it back
    recount: Recount
    replace: Callable[[Seat, str], None]  #: called with a seat whose runner is of little use, and why
    rouse: Callable[[Run], bool]  #: called with a run that waits for steps and is to stop: its code goes on, and takes up a slot

    async def watch_for_ever(self) -> None:
        """Look ten times a second."""
        pinged, looked = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            if now - looked > _LATE:
                # A look counts as one tick however late it is, so that even a worker that is always late comes to the last step.
                excuse(self.tables.seats, looked, now - looked - _TICK)
            looked = now
            if now - pinged >= _PING:
                pinged = now
                self._ping(now)
            self.look(now)

    def look(self, now: float) -> None:
        """Take the steps that are due."""
        for seat in self.tables.seats:
            for run in seat.runs():
                self._look_at(seat, run, now)
        for lane in self.tables.lanes.values():
            self._make_way(lane, now)

    def _make_way(self, lane: Lane, now: float) -> None:
        """No job waits here behind a long one, or for a runner that is not there or kept for suspects, while another worker may have room.

        Those that do go back, and none is taken meanwhile.
        """
        was, lane.slow = lane.slow, lane.is_slow(now)
        if lane.slow:
            for seat in lane.seats:
                seat.recall(lane.aboard(seat))
        if lane.slow or lane.is_shut(now):
            self.settler.give_back(lane.pending)
        if lane.slow != was:
            for seat in lane.seats:
                self.recount(seat)

    def _ping(self, now: float) -> None:
        for seat in self.tables.seats:
            if seat.process is None:
                continue
            seat.process.drain_output()
            if seat.empty:
                seat.pong_at = now
            else:
                seat.process.send("ping", now)

    # -- the three steps --------------------------------------------------------------------------------------------------

    def request_stop(self, run: Run, reason: StopReason) -> None:
        """First step. A run that waits here is settled at once, and so is one item of a running batch: its result is fenced."""
        if run.settled or not counts(run.stop, reason) or self.tables.runs.get(run.id) is not run:
            return
        run.request_stop(reason, time.monotonic(), self.grace)
        lane = self.tables.lane_of(run)
        if run in lane.pending or run in lane.apart:
            self.tables.remove_waiting(run)
            self.settler.stop(run)
            for place in lane.seats:
                self.recount(place)
            return
        seat = self.tables.seat_of(run)
        if seat is None:
            return
        if run.waits:
            self.rouse(run)
            run.go_on(run.stop_at)
        mates = self.tables.mates(seat, run)
        if reason != "timeout" and any(other.stop is None and not other.settled for other in mates):
            self.settler.stop(run, "fenced")
        else:
            # With the last one nobody wants the batch any more.
            seat.request_stop([run, *mates], interrupt=False)

    def _look_at(self, seat: Seat, run: Run, now: float) -> None:
        if run.stop is None:
            if run.deadline is not None and now >= run.deadline and not run.settled:
                self.request_stop(run, "timeout")
            return
        if not run.interrupted and not run.settled and now >= run.exception_at:
            run.interrupted = True
            seat.request_stop([run], interrupt=True)
        if now >= run.kill_at:
            self._insist(seat, run, now)

    def _insist(self, seat: Seat, run: Run, now: float) -> None:
        """Third step; again and again while the run is still there, for its company changes."""
        over = run.hard is not None and now >= run.hard
        if last_step(self._company(seat, run, now), over=over) == "kill":
            if seat.kill({other for other in seat.runs() if other.stop is not None}):
                log.warning("runner killed to stop a job", job_id=run.id, reason=run.stop, pid=seat.pid)
        elif not run.settled:
            self.settler.stop(run, "fenced")
            self.recount(seat)
        elif any(lane.has_clogged(seat) for lane in self.tables.lanes_of(seat)):
            self.replace(seat, "jobs that were given up, and go on all the same, take half of its places")

    def _company(self, seat: Seat, run: Run, now: float) -> Company:
        others = [
            other
            for other in seat.runs()
            # One that was asked to stop is wanted until its own time to do so is over.
            if other is not run and not other.settled and other.started is not None and (other.stop is None or now < other.kill_at)
            # One that waits for steps loses nothing, unless it must not run twice: it sleeps on.
            if other.once or not other.waits
        ]
        # Items of one batch are one call: what is stopped for one is stopped for all.
        return Company(
            wanted=bool(others),
            once=any(other.once for other in others),
            deaf=seat.pong_at < now - max(self.grace, _HEARS_WITHIN),
        )
