"""Stopping a run: cancel, time limits, lost leases. Three steps: a flag, an exception in the running code, the end of the runner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from longrun.worker.engine import Engine
    from longrun.worker.lane import Lane
    from longrun.worker.run import Run, StopReason
    from longrun.worker.seat import Seat

log = structlog.get_logger("longrun.worker")
_TICK = 0.1
_PING = 0.25
#: A runner that has answered no ping of the last so many seconds (or of the grace, if that is longer) is deaf: one of its threads keeps
#: the GIL, or its event loop is blocked. What else it holds is stuck too.
_HEARS_WITHIN = 1.0
#: So many seconds from one look to the next say that this process itself had no core. It does not hold that against its runners.
_LATE = 0.5


@dataclass(frozen=True, slots=True)
class Company:
    """Whom a run that does not stop shares its runner with.

    Args:
        wanted: somebody waits for another run in it.
        once: one of those must not be run twice.
        deaf: the runner answers no ping.
    """

    wanted: bool = False
    once: bool = False
    deaf: bool = False


def last_step(company: Company, *, over: bool) -> Literal["kill", "fence"]:
    """What is done about a run that neither flag nor exception has stopped.

    A runner is ended when nobody waits for anything else in it. Otherwise the run is over for its caller and its result will be refused,
    while the work goes on beside that of the others, whom a kill would set back to their beginning. A deaf runner is no use to them: it is
    ended, and they run again without being charged; except that jobs which must not run twice are not lost because somebody canceled
    another one.

    Args:
        company: see there.
        over: the run's own time limit is over.
    """
    if not company.wanted:
        return "kill"
    if company.deaf and (over or not company.once):
        return "kill"
    return "fence"


def excuse(seats: Iterable[Seat], span: float) -> None:
    """The worker stood still for `span` seconds: they count neither as silence of its runners nor as time that a run had to stop."""
    for seat in seats:
        seat.pong_at += span
        for run in seat.runs():
            if run.stop is not None:
                run.exception_at += span
                run.kill_at += span


class Limits:
    """See the module."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._grace = engine.settings.cancel_grace

    async def watch_for_ever(self) -> None:
        """Look after deadlines and after runs that were told to stop."""
        pinged, looked = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            if now - looked > _LATE:
                # A look counts as one tick however late it is, so that even a worker that is always late comes to the last step.
                excuse(self._engine.seats, now - looked - _TICK)
            looked = now
            if now - pinged >= _PING:
                pinged = now
                self._ping(now)
            for seat in self._engine.seats:
                for run in seat.runs():
                    self._look(seat, run, now)
            for lane in self._engine.lanes.values():
                self._make_way(lane, now)

    def _make_way(self, lane: Lane, now: float) -> None:
        """No job waits behind a long one here while another worker may have room: those that do go back, and none is taken meanwhile."""
        was, lane.slow = lane.slow, lane.is_slow(now)
        if lane.slow:
            for seat in lane.seats:
                seat.recall(lane)
            self._engine.settler.give_back(lane)
        if lane.slow != was:
            for seat in lane.seats:
                self._engine.recount(seat)

    def _ping(self, now: float) -> None:
        for seat in self._engine.seats:
            if seat.process is not None:
                seat.process.relieve()
            if seat.process is not None and not seat.empty:
                seat.process.send("ping", now)
            elif seat.process is not None:
                seat.pong_at = now

    def request_stop(self, run: Run, reason: StopReason) -> None:
        """First step. A run that waits here is settled at once, and so is one item of a running batch: its result is fenced."""
        if run.settled or (run.stop is not None and not (run.stop == "timeout" and reason != "timeout")):
            return
        engine = self._engine
        lane, held = engine.runs.get(run.id, (None, None))
        if lane is None or held is not run:
            return
        run.tell(reason, time.monotonic(), self._grace)
        if run in lane.pending:
            lane.forget(run)
            engine.settler.stopped(lane, run)
            for place in lane.seats:
                engine.recount(place)
            return
        seat = next((seat for seat in lane.seats if seat.find(run.id, run.attempt) is run), None)
        if seat is None:
            return
        mates = self._mates(seat, lane, run)
        if reason != "timeout" and any(other.stop is None and not other.settled for other in mates):
            engine.settler.stopped(lane, run, "fenced")
            return
        # With the last one nobody wants the batch any more.
        seat.tell_to_stop([run, *mates], interrupt=False)

    @staticmethod
    def _mates(seat: Seat, lane: Lane, run: Run) -> list[Run]:
        if lane.batched is None:
            return []
        return [other for other in seat.aboard.get(lane, {}).values() if other.batch == run.batch and other is not run]

    def _look(self, seat: Seat, run: Run, now: float) -> None:
        if run.stop is None:
            if run.deadline is not None and now >= run.deadline and not run.settled:
                self.request_stop(run, "timeout")
            return
        if not run.interrupted and not run.settled and now >= run.exception_at:
            run.interrupted = True
            seat.tell_to_stop([run], interrupt=True)
        if now >= run.kill_at:
            self._insist(seat, run, now)

    def _insist(self, seat: Seat, run: Run, now: float) -> None:
        """Third step; said again and again while the run is still there, for its company changes."""
        over = run.hard is not None and now >= run.hard
        if last_step(self._company(seat, run, now), over=over) == "kill":
            if seat.kill({other for other in seat.runs() if other.stop is not None}):
                log.warning("runner killed to stop a job", job_id=run.id, reason=run.stop, pid=seat.process.pid if seat.process else 0)
        elif not run.settled:
            lane, _ = self._engine.runs[run.id]
            self._engine.settler.stopped(lane, run, "fenced")
            self._engine.recount(seat)
        elif any(seat.worn(lane) for lane in seat.lanes):
            self._engine.recycler.replace(seat, "jobs that were given up, and go on all the same, take half of its places")

    def _company(self, seat: Seat, run: Run, now: float) -> Company:
        others = [
            other
            for other in seat.runs()
            # One that was told to stop is wanted until its own time to do so is over.
            if other is not run and not other.settled and other.started is not None and (other.stop is None or now < other.kill_at)
        ]
        # Items of one batch are one call: what is stopped for one is stopped for all.
        return Company(
            wanted=bool(others),
            once=any(other.claim.policy.delivery == "at_most_once" for other in others),
            deaf=seat.pong_at < now - max(self._grace, _HEARS_WITHIN),
        )
