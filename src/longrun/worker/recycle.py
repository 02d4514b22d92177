"""When a runner makes room for another one: it has served long enough, holds too much memory, hangs in `load()`, or does not answer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from longrun.log import Log
from longrun.worker.supervise.guard import Guard
from longrun.worker.supervise.memory import available_memory, memory_of
from longrun.worker.supervise.seat import Seat
from longrun.worker.supervise.terms import fits_beside, over_memory
from longrun.worker.tables import Recount, Spawn, Tables

log = Log("longrun.worker")
_TICK = 1.0
#: A runner that holds nothing is pinged this often (in ticks), and replaced when it has left so many pings unanswered. Counted in pings and
#: not in time: a worker that was frozen itself must not blame its runners for it.
_PING_EVERY, _UNANSWERED = 5, 6
_LONGER = 4.0


@dataclass(slots=True)
class Recycler:
    """Looks after the ends and the successors of runners. One runner of a group is replaced at a time."""

    tables: Tables
    guard: Guard  #: is kept running
    spawn: Spawn
    recount: Recount
    _successors: dict[Seat, Seat] = field(default_factory=dict)
    _ticks: int = 0

    # -- what happens to a runner -----------------------------------------------------------------------------------------

    def on_done(self, seat: Seat) -> None:
        """Jobs have ended in it."""
        if seat.role == "retiring":
            self._end_if_empty(seat)
        elif seat.role == "serving" and seat.terms.max_jobs is not None and seat.jobs >= seat.terms.max_jobs:
            self.replace(seat, f"{seat.jobs} jobs have ended in it")

    def on_ready(self, seat: Seat) -> None:
        """A model of it is loaded. With the last one, a successor takes over."""
        if not seat.loaded:
            return
        if seat.terms.max_memory is not None:
            seat.held_at_start = self._held(seat) or 0
            if seat.held_at_start > seat.terms.max_memory:
                facts = {"held": seat.held_at_start, "max_memory": seat.terms.max_memory, "models": seat.models}
                log.error("max_memory is less than the loaded models hold, and not in force", **facts)
        for old, new in self._successors.items():
            if new is seat and seat.role == "standby":
                seat.role = "serving"
                before, finishing = old.pid, len(old.runs())
                self._retire(old)
                log.info("runner replaced", pid=seat.pid, before=before, finishing=finishing)

    def next_here(self, seat: Seat) -> bool:
        """Its runner has ended: whether the next one is to be started in the same seat, or one is there already."""
        successor = self._successors.pop(seat, None)
        if successor is None:
            if seat.role == "retiring":
                seat.role = "serving"  # it had to go before the next one could load
            return True
        seat.group.seats.remove(seat)
        # It may still be loading, when the old one has died before its time.
        successor.role = "serving"
        self.recount(successor)
        return False

    # -- replacing --------------------------------------------------------------------------------------------------------

    def replace(self, seat: Seat, why: str) -> None:
        """Have the next runner take over, unless another one of the group is being replaced."""
        if self.tables.closing or any(mate.role in ("standby", "retiring") or mate in self._successors for mate in seat.group.seats):
            return
        beside = fits_beside(seat.terms, seat.place.device, self._held(seat), available_memory())
        pid = seat.pid
        if beside:
            self._successors[seat] = seat.further("standby")
            self.spawn(self._successors[seat].start())
        else:
            self._retire(seat)
        log.info("runner is to be replaced", pid=pid, why=why, beside=beside, models=seat.models)

    def _retire(self, seat: Seat) -> None:
        """It gets no more jobs, and ends when the last of those in it has ended."""
        seat.role, seat.reserved, seat.retired_at = "retiring", None, time.monotonic()
        self.recount(seat)
        self._end_if_empty(seat)

    @staticmethod
    def _end_if_empty(seat: Seat) -> None:
        if seat.empty:
            seat.end()

    @staticmethod
    def _held(seat: Seat) -> int | None:
        return memory_of({seat.pid}).get(seat.pid)

    # -- looking on -------------------------------------------------------------------------------------------------------

    async def watch_for_ever(self) -> None:
        """Look at every runner once a second."""
        while True:
            try:
                self.guard.ensure_running()
            except OSError as error:
                log.warning("guard process could not be started", error=str(error))
            await asyncio.sleep(_TICK)
            self._ticks += 1
            for seat in self.tables.seats:
                if seat.process is not None:
                    seat.process.check_end()
                    if not seat.ending:
                        self._look(seat)
            await self._weigh()

    def _look(self, seat: Seat) -> None:
        if not seat.loaded:
            limit = seat.terms.load_timeout
            if time.monotonic() - seat.since > limit:
                seat.end(f"it had not loaded after {limit:g} s (load_timeout)")
        elif not seat.empty:
            self._let_in(seat, time.monotonic())
            # Code of a job may hold the GIL until its time limit.
            seat.unanswered = 0
        elif self._ticks % _PING_EVERY == 0:
            self._ping(seat)

    def _let_in(self, seat: Seat, now: float) -> None:
        """Where the next runner cannot load before this one has gone, what is in this one may wait for a job that nobody runs meanwhile.

        So it serves everybody until the next job has ended in it, and then retires again, for longer.
        """
        if seat.role == "retiring" and seat not in self._successors and now - seat.retired_at > seat.patience:
            seat.role, seat.patience = "serving", seat.patience * _LONGER
            self.recount(seat)

    def _ping(self, seat: Seat) -> None:
        assert seat.process is not None
        if seat.unanswered >= _UNANSWERED:
            seat.end("it holds no job and answers no ping")
            return
        seat.unanswered += 1
        if seat.deaf:
            self.recount(seat)
        seat.process.send("ping", 0)

    async def _weigh(self) -> None:
        pids = {seat.pid: seat for seat in self.tables.seats if seat.terms.max_memory is not None and seat.loaded}
        if not pids:
            return
        for pid, held in (await asyncio.to_thread(memory_of, pids)).items():
            seat = pids[pid]
            if seat.pid == pid and seat.role == "serving":
                self._judge(seat, held)

    def _judge(self, seat: Seat, held: int) -> None:
        ended, seat.jobs_weighed = seat.jobs > seat.jobs_weighed, seat.jobs
        if ended and over_memory(seat.terms, held, seat.held_at_start):
            self.replace(seat, f"it holds {held} bytes")
