"""Suspects get runners to themselves, group by group, and nobody waits behind them. See docs/decisions/0004-who-is-blamed-for-a-crash.md.

They are queued in the store until there is a runner for their group: a further one beside those that serve everybody, or, where none can
be had, one of these, for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from longrun.errors import LongrunError
from longrun.log import Log
from longrun.store.claims import Claim, Claims, Company, Suspect
from longrun.worker.blame import is_last_chance, is_once_more, later, patience
from longrun.worker.dispatch.lane import Lane
from longrun.worker.run import Run
from longrun.worker.settle import Settler
from longrun.worker.supervise.memory import available_memory, memory_of
from longrun.worker.supervise.seat import Group, Seat
from longrun.worker.supervise.terms import fits_beside
from longrun.worker.tables import Recount, Spawn, Tables

log = Log("longrun.worker")
_TICK = 1.0
#: Further runners beside each that serves everybody.
_FURTHER = 4
#: Seconds for which a further runner waits for more suspects; for which a runner is for everybody after a group had it, before another has.
_LINGER, _TURN = 1.0, 1.0
#: A further runner that takes this much longer to load than another one did, and so many seconds, waits for something that it will not get.
_SLOWER, _LOAD_S = 4.0, 10.0
#: Seconds without a further runner after one did not load; and after memory was short.
_NOT_LOADED, _SHORT = 60.0, 1.0
#: A job that was handed in and is not here after so many seconds is handed in again; and lanes that are asked about at once.
_CALL_AGAIN, _LANES = 3.0, 90


@dataclass(slots=True)
class Suspects:
    """See the module."""

    worker: str  #: its identity
    tables: Tables
    claims: Claims
    settler: Settler  #: gives back what was claimed for a runner that is gone
    spawn: Spawn
    recount: Recount
    call: Callable[[Sequence[Suspect]], None]  #: hands jobs in as if their tickets had come
    _waiting: dict[str, Suspect] = field(default_factory=dict)  #: by job id: queued, and for this worker to run
    _mixed: set[str] = field(default_factory=set)  #: groups whose patience is over: they run with anybody
    _since: dict[str, float] = field(default_factory=dict)  #: group → since when it waits here
    _called: dict[str, tuple[Suspect, float]] = field(default_factory=dict)  #: by job id: handed in, when, and not claimed yet
    _none_before: dict[int, float] = field(default_factory=dict)  #: id of a group of seats → when it may get a further one again
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    # -- what waits -------------------------------------------------------------------------------------------------------

    async def watch_for_ever(self) -> None:
        """Ask the store and look once a second, and when woken."""
        while True:
            self._woken.clear()
            if not self.tables.closing:
                await self._ask()
                self.look(time.monotonic())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _TICK)

    def wake(self) -> None:
        """There may be suspects, or room for them."""
        self._woken.set()

    async def _ask(self) -> None:
        """What waits in the store for this worker. Without an answer it goes on with what it knows."""
        groups = [group for group in self.tables.groups if any(_in_service(seat) for seat in group.seats)]
        lanes = [name for group in groups for name in group.lanes]
        held = {suspect.group for suspect in self._waiting.values()} | {run.group for run in self.tables.runs.values()}
        # Always one more, so that nobody waits for somebody whom this worker, if there is no other, has not seen.
        more = max(1, _FURTHER * len(groups) - len(held - {""}))
        placed = {name for seat in self.tables.seats for name in (seat.alone, seat.reserved)}
        loose = {suspect.group for suspect in self._waiting.values()} - placed
        found: list[Suspect] = []
        try:
            for at in range(0, len(lanes), _LANES):
                found += await self.claims.suspects(self.worker, lanes[at : at + _LANES], more, loose)
        except LongrunError:
            return
        self._waiting = {suspect.id: suspect for suspect in found if suspect.id not in self.tables.runs}

    def admitted(self, lane: Lane) -> tuple[set[str], Company]:
        """The groups whose jobs of a lane may be claimed now, and beside what they would run."""
        alone = {seat.alone for seat in lane.seats if seat.alone is not None}
        runs = self.tables.runs.values() if self._since else ()
        last = [run.id for run in runs if run.claim.suspect and is_last_chance(run.claim.suspect)]
        return {group for group in alone if lane.items_for_group(group)} | self._mixed, Company(self.tables.busy, last)

    def group_of(self, claim: Claim) -> str:
        """With whom a claimed job is to run, empty = with anybody."""
        self._waiting.pop(claim.id, None)
        self._called.pop(claim.id, None)
        return "" if claim.suspect in self._mixed else claim.suspect

    # -- runners for them -------------------------------------------------------------------------------------------------

    def on_done(self, seat: Seat) -> None:
        """Jobs have ended in it."""
        if seat.kept or any(lane.apart for lane in self.tables.lanes_of(seat)):
            self.look(time.monotonic())

    def has_ended(self, seat: Seat) -> None:
        """A further runner has ended before its time."""
        if seat.failures:
            self._give_up(seat, time.monotonic())
        else:
            seat.leave()
        self.wake()

    def look(self, now: float) -> None:
        """Have each group get what is there for it."""
        if self.tables.closing:
            return
        groups = {suspect.group for suspect in self._waiting.values()} | {run.claim.suspect for run in self.tables.runs.values()}
        self._mixed &= groups
        self._since = {name: since for name, since in self._since.items() if name in groups}
        self._called = {job_id: (each, at) for job_id, (each, at) in self._called.items() if now - at < _CALL_AGAIN}
        for group in self.tables.groups:
            wanting = self._wanting(group, now)
            if wanting or any(seat.kept or seat.role == "apart" for seat in group.seats):
                self._look_at(group, wanting, now)

    def _look_at(self, group: Group, wanting: dict[str, float], now: float) -> None:
        for seat in list(group.seats):
            if seat.role == "apart":
                self._tend(seat, wanting, now)
            elif seat.kept:
                self._keep(seat, wanting, now)
        for name in wanting:
            if name not in self._mixed and _seat_of(group, name) is None:
                self._place(group, name, now)
        lanes = [self.tables.lanes[name] for name in group.lanes]
        for lane in lanes:
            self._call_in(lane, now)
        self._give_back(run for lane in lanes for run in lane.apart)

    def _wanting(self, group: Group, now: float) -> dict[str, float]:
        """Suspects that want a runner of these: group → since when, the first first."""
        queued = [*self._waiting.values(), *(each for each, _ in self._called.values())]
        names = [each.group for each in queued if each.lane in group.lanes and each.id not in self.tables.runs]
        names += [run.group for lane in group.lanes for run in self.tables.lanes[lane].apart]
        return dict(sorted(((name, self._since.setdefault(name, now)) for name in names), key=lambda item: item[1]))

    def _unplaced(self, group: Group, wanting: Iterable[str]) -> str | None:
        return next((name for name in wanting if name not in self._mixed and _seat_of(group, name) is None), None)

    def _tend(self, seat: Seat, wanting: Collection[str], now: float) -> None:
        """Look after a further runner."""
        if seat.empty and (seat.failures or self._hangs(seat, now)):
            self._give_up(seat, now)
        elif seat.empty and seat.alone not in wanting and not seat.ending:
            following = self._unplaced(seat.group, wanting)
            if following is not None and not self._must_wait(following, now):
                seat.keep_for(following, now)
                self.recount(seat)
            elif now - max(seat.left_at, seat.kept_since) > _LINGER:
                seat.leave()
                log.info("further runner is ended", pid=seat.pid, models=seat.models)

    @staticmethod
    def _hangs(seat: Seat, now: float) -> bool:
        if seat.loaded:
            return False
        took = [sum(mate.ready.values()) + sum(mate.warmed.values()) for mate in seat.group.seats if mate is not seat and mate.loaded]
        return now - seat.since > _LOAD_S + _SLOWER * max(took, default=seat.terms.load_timeout)

    def _give_up(self, seat: Seat, now: float) -> None:
        self._none_before[id(seat.group)] = now + _NOT_LOADED
        seat.leave()
        log.warning("further runner for suspects did not load", models=seat.models)

    def _keep(self, seat: Seat, wanting: Collection[str], now: float) -> None:
        """Look after a runner that is kept from everybody else: not for ever."""
        group = seat.alone or seat.reserved or ""
        if group not in wanting and (seat.empty or seat.alone is None):
            seat.keep_for(None, now)
        elif seat.empty and seat.alone is None:
            seat.keep_for(group, now)
        elif now - seat.kept_since > patience(group):
            self._open(seat, group, now)
        else:
            return
        self.recount(seat)

    def _open(self, seat: Seat, group: str, now: float) -> None:
        """Its time to keep others waiting is over: it goes on beside them, or, if it must run by itself, waits longer next time."""
        lanes = self.tables.lanes_of(seat)
        if is_once_more(group) and seat.alone is None:
            for run in [run for lane in lanes for run in lane.apart if run.group == group]:
                run.begin_anew(later(group))
        else:
            self._mixed.add(group)
            for lane in lanes:
                lane.mix(group)
        seat.alone = seat.reserved = None
        seat.kept_since = now
        log.warning("suspects go on beside others, who have waited", models=seat.models, suspects=group)

    def _place(self, group: Group, name: str, now: float) -> None:
        """Find a runner for a group of suspects."""
        serving = [seat for seat in group.seats if _in_service(seat)]
        if not serving:
            self._since[name] = now  # its runners load: everybody waits
        elif not self._must_wait(name, now):
            further = [seat for seat in group.seats if seat.role == "apart"]
            few = len(further) < _FURTHER * sum(seat.role == "serving" for seat in group.seats)
            if now >= self._none_before.get(id(group), 0.0) and few and self._fits(group, serving, further, now):
                seat = group.seats[0].further("apart")
                seat.keep_for(name, now)
                self.spawn(seat.start())
                log.info("further runner for suspects", models=seat.models, suspects=name)
            elif few or now - self._since[name] > patience(name):
                self._keep_one(serving, name, now)

    def _fits(self, group: Group, serving: Sequence[Seat], further: Sequence[Seat], now: float) -> bool:
        terms, device = group.terms, serving[0].place.device
        held = max(memory_of({seat.pid for seat in serving}).values(), default=None) if device == "cpu" else None
        loading = sum(not seat.loaded for seat in further)
        fits = fits_beside(terms, device, held and held * (1 + loading), available_memory())
        if not fits:
            self._none_before[id(group)] = now + _SHORT
        return fits

    def _keep_one(self, serving: Sequence[Seat], name: str, now: float) -> None:
        free = [seat for seat in serving if not seat.kept and not (seat.kept_since and now - seat.kept_since < _TURN)]
        if free:
            seat = min(free, key=lambda seat: len(seat.runs()))
            seat.keep_for(name, now)
            self.recount(seat)

    def _must_wait(self, name: str, now: float) -> bool:
        """One crash more would end it, and another such job runs here: if the worker dies, one of them would fail for the other."""
        if not is_last_chance(name) or now - self._since[name] > patience(name):
            return False
        return any(seat.alone and is_last_chance(seat.alone) for seat in self.tables.seats)

    # -- into them --------------------------------------------------------------------------------------------------------

    def _call_in(self, lane: Lane, now: float) -> None:
        """Have those claimed that can begin."""
        waiting = [each for each in self._waiting.values() if each.lane == lane.name and each.id not in self.tables.runs]
        called: list[Suspect] = []
        for name in dict.fromkeys(each.group for each in waiting):
            mates = [each for each in waiting if each.group == name]
            under_way = sum(each.group == name and each.lane == lane.name for each, _ in self._called.values())
            room = (max(0, lane.free() - len(called)) if name in self._mixed else lane.items_for_group(name)) - under_way
            called += [each for each in mates if each.id not in self._called][: max(0, room)]
        if called:
            self._called |= {each.id: (each, now) for each in called}
            self.call(called)

    def _give_back(self, claimed: Iterable[Run]) -> None:
        """What was claimed for a runner that is gone meanwhile is queued again; what goes on in its attempt stays."""
        for run in list(claimed):
            lane = self.tables.lane_of(run)
            if not is_once_more(run.group) and not any(seat.admits(lane.model, run.group) for seat in lane.seats):
                self.settler.give_back([run])


def _in_service(seat: Seat) -> bool:
    return seat.role == "serving" and seat.loaded and not seat.ending


def _seat_of(group: Group, name: str) -> Seat | None:
    """The seat that this group of suspects has, or will have, to itself."""
    return next((seat for seat in group.seats if seat.role in ("apart", "serving") and name in (seat.alone, seat.reserved)), None)
