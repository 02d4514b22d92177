"""Runs whose code waits for steps. They hold no slot, go on when they are woken, and are let go when their place is needed.

A parked run stays in its runner, with all that its code has in memory. It is woken by the store, by the time of a sleep or a wait, or by a
heartbeat where the store's word was lost; then it goes on as soon as fewer than `concurrency` of its lane run there, before jobs that have
not begun. To let a run go is to have its code unwound: it sleeps in the store, and runs again when it is woken, from the beginning, with
what its journal holds. One that must not run twice is never let go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from longrun.log import Log
from longrun.worker.dispatch.lane import Lane
from longrun.worker.run import Run
from longrun.worker.settle import Settler
from longrun.worker.stopping import StopReason
from longrun.worker.supervise.seat import Seat
from longrun.worker.tables import Recount, Tables

log = Log("longrun.worker")
_TICK = 0.1
#: Parked runs of a runner at most: an async one holds 20 KB beside its own data, a sync one a thread.
MOST_ASYNC, MOST_SYNC = 1000, 200
#: Seconds after which a parked run is let go; and one that was woken and found no room here, as another worker may have some.
LONGEST, NO_ROOM = 600.0, 10.0
#: Seconds after the time of a sleep at which its run is woken: the server's clock and ours do not tick together.
_LATE = 0.002


@dataclass(slots=True)
class Parking:
    """See the module."""

    tables: Tables
    settler: Settler  #: gives back what does not unwind
    grace: float  #: seconds to unwind
    rehearse: bool  #: every run is let go as soon as it waits, so that its author sees what a replay does
    recount: Recount
    stop: Callable[[Run, StopReason], None]
    resume: Callable[[Seat, Run], None]  #: called with a run that has its slot again: asks the store what has ended, and has its code go on

    # -- it waits, and goes on --------------------------------------------------------------------------------------------

    def park(self, seat: Seat, run: Run, due_in: float | None) -> None:
        """Its code waits, and so the store says; `due_in`: seconds until the first time that it waits for, None = for none."""
        assert run.asking is not None
        now, lane = time.monotonic(), self.tables.lane_of(run)
        run.wait(now)
        run.parked = True
        seat.park(run)
        lane.held -= 1
        lane.has_steps = True
        if due_in is not None:
            run.asking.timer = asyncio.get_running_loop().call_later(max(0.0, due_in) + _LATE, self.wake, run)
        lane.begin_next(seat)
        if run.group and not run.once:
            # What suspects have a runner to themselves for is code that runs.
            self._let_go(seat, [run], now)
        self.look_at(seat, now)
        if run.asking.woken:
            self.wake(run)
        self.recount(seat)

    def wake(self, run: Run) -> None:
        """What it waits for may be there: it goes on when there is room."""
        if run.asking is None or self.tables.runs.get(run.id) is not run:
            return
        run.asking.woken = run.asking.woken or time.monotonic()
        seat = self.tables.seat_of(run) if run.parked and not run.leaves else None
        if seat is not None:
            lane = self.tables.lane_of(run)
            lane.resume_later(seat, run)
            self.resume_next(lane, seat)

    def resume_next(self, lane: Lane, seat: Seat) -> None:
        """Have those go on for which there is room."""
        while (run := lane.next_to_resume(seat)) is not None:
            self._unpark(seat, run)
            self.resume(seat, run)

    def rouse(self, run: Run) -> bool:
        """Its code goes on now, room or not: by itself, or because it is to stop. False: it was not parked."""
        seat = self.tables.seat_of(run) if run.waits else None
        if seat is None or self.holds_slot(seat, run):
            return False
        lane = self.tables.lane_of(run)
        if run.parked:
            run.parked = False
            lane.held += 1
        else:
            lane.give_up_resuming(seat, run)
        self._unpark(seat, run)
        return True

    @staticmethod
    def holds_slot(seat: Seat, run: Run) -> bool:
        """Whether a run that is there has its slot (again): it is neither parked nor waits for room."""
        return (run.id, run.fence) in seat.aboard[run.lane]

    @staticmethod
    def _unpark(seat: Seat, run: Run) -> None:
        seat.unpark(run)
        run.leaves = 0.0
        _cancel_timer(run)

    def has_ended(self, seat: Seat, aboard: Sequence[Run]) -> None:
        """A runner has ended with these."""
        for lane in self.tables.lanes_of(seat):
            lane.resuming.pop(seat, None)
        for run in aboard:
            _cancel_timer(run)

    # -- it is let go -----------------------------------------------------------------------------------------------------

    async def watch_for_ever(self) -> None:
        """Look ten times a second."""
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            for seat in self.tables.seats:
                self.look_at(seat, now)
                self._give_up_late(seat, now)

    def look_at(self, seat: Seat, now: float) -> None:
        """Let those go whose place is needed."""
        if any(seat.parked.values()):
            leaving = list(whom_to_let_go(seat, self.tables.lanes, now, all_of_them=self.rehearse or self.tables.closing))
            if leaving:
                self._let_go(seat, leaving, now)

    def _let_go(self, seat: Seat, runs: Sequence[Run], now: float) -> None:
        for run in runs:
            if not run.parked:
                lane = self.tables.lane_of(run)
                lane.give_up_resuming(seat, run)
                lane.held -= 1
                run.parked = True
            run.leaves = now
            _cancel_timer(run)
        seat.let_go(runs)

    def _give_up_late(self, seat: Seat, now: float) -> None:
        """What does not unwind in time is stopped, and handed back; its runner may go on with it for a while."""
        for run in [run for run in seat.leaving.values() if now - run.leaves > self.grace]:
            log.warning("a job that waits did not unwind in time", job_id=run.id, attempt=run.attempt, pid=seat.pid)
            self.stop(run, "lost")
            self.settler.release(run)


def whom_to_let_go(seat: Seat, lanes: Mapping[str, Lane], now: float, *, all_of_them: bool) -> Iterator[Run]:
    """Those of a runner's parked runs whose place is needed: the longest first. Pure.

    All of them, those too that are to go on and have no room yet, when the runner is to go, or suspects are to have it to themselves.
    """
    all_of_them = all_of_them or seat.role == "retiring" or seat.reserved is not None
    if not all_of_them:
        for name in seat.group.lanes:
            for run in lanes[name].resuming.get(seat, ()):
                if not run.once and run.asking is not None and now - run.asking.woken > NO_ROOM:
                    yield run
    for is_async, most in ((True, MOST_ASYNC), (False, MOST_SYNC)):
        parked = [runs for name, runs in seat.parked.items() if runs and lanes[name].spec.is_async == is_async]
        over = sum(map(len, parked)) - most
        for runs in parked:
            for run in runs.values():
                if not (all_of_them or over > 0 or now - run.waits > LONGEST):
                    break
                if not run.once and (run.parked or all_of_them):
                    over -= 1
                    yield run


def _cancel_timer(run: Run) -> None:
    if run.asking is not None and run.asking.timer is not None:
        run.asking.timer.cancel()
        run.asking.timer = None
