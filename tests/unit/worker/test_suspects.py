"""Which runners suspects get, for how long they keep others waiting, and that blame comes to the right job all the same."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, cast

import pytest
from tests.unit.worker.played import ECHO, PlayedClaims, PlayedProcess, PlayedSink, Recorder, emitter_of, tables_of, waiting

from longrun.jobs.policy import Policy
from longrun.store.claims import Claim, Claims, Suspect
from longrun.worker import suspects
from longrun.worker.blame import groups_of, is_last_chance, later, once_more, patience, times_suspected
from longrun.worker.run import Run
from longrun.worker.settle import Settler
from longrun.worker.supervise.process import RunnerProcess
from longrun.worker.supervise.seat import Seat
from longrun.worker.supervise.terms import Terms
from longrun.worker.suspects import Suspects
from longrun.worker.tables import Tables

GIB = 1 << 30


class Clock:
    """Stands in for `time.monotonic`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    it = Clock()
    monkeypatch.setattr(time, "monotonic", it)
    return it


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bytes that are available; each runner holds one GiB."""
    free = {"available": 99 * GIB}
    monkeypatch.setattr(suspects, "available_memory", lambda: free["available"])
    monkeypatch.setattr(suspects, "memory_of", lambda pids: dict.fromkeys(pids, GIB))
    return free


class Played:
    """Suspects of a worker with one lane, and what is handed in."""

    def __init__(self, tables: Tables) -> None:
        self.tables, self.effects, self.claims = tables, Recorder(), PlayedClaims()
        (self.lane,) = tables.lanes.values()
        self.called: list[str] = []
        emitter, spawn = emitter_of(self.claims, self.effects), self.effects.spawn
        settler = Settler(tables, cast(Claims, self.claims), emitter, spawn, nothing, nothing, cast(Any, None))
        self.it = Suspects("w", tables, cast(Claims, self.claims), settler, self._start, self.recount, self._call)

    def _start(self, work: Any) -> None:
        work.close()

    def _call(self, found: Sequence[Suspect]) -> None:
        self.called += [each.id for each in found]

    def recount(self, _: Seat) -> None:
        self.lane.count_capacity()
        self.lane.dispatch()

    def wait(self, **groups: str) -> None:
        """These jobs wait in the store: job id → group."""
        self.it._waiting |= {job_id: Suspect(self.lane.name, "4", job_id, group) for job_id, group in groups.items()}

    def further(self) -> list[Seat]:
        return [seat for seat in self.tables.seats if seat.role == "apart"]


def nothing(*_: Any) -> None: ...


def load(seat: Seat, pid: int = 2000) -> None:
    seat.process = cast(RunnerProcess, PlayedProcess(pid))
    seat.has_loaded(ECHO.name, 0.5, 0.0)


# -- pure -----------------------------------------------------------------------------------------------------------------


def test_a_group_that_crashed_by_itself_has_parts_of_the_same_patience() -> None:
    names = groups_of({"job_1": "", "job_2": ""})
    parts = groups_of(dict.fromkeys(names, names["job_1"]), apart=True)
    assert patience(parts["job_1"]) == patience(names["job_1"])
    assert parts["job_1"] != names["job_1"]


def test_a_groups_patience_grows_with_each_crash_in_company() -> None:
    names, seen = {"job_1": ""}, []
    for _ in range(3):
        names = groups_of(names)
        seen.append((times_suspected(names["job_1"]), patience(names["job_1"])))
    assert seen == [(1, 5.0), (2, 20.0), (3, 80.0)]
    assert patience("a1b2c3d4-0") == 5.0, "of a release that did not count"
    assert patience(later(once_more("job_1"))) == 20.0
    assert (is_last_chance("job_1"), is_last_chance("job_1.2"), is_last_chance(once_more("job_1"))) == (True, True, False)


# -- a further runner -------------------------------------------------------------------------------------------------------


def test_a_group_gets_a_further_runner_and_the_first_one_goes_on_for_everybody(clock: Clock) -> None:
    it = Played(tables_of(seats=1))
    it.wait(job_1="c-0.1", job_2="c-1.1")
    it.it.look(clock.now)
    one, two = it.further()
    assert (one.alone, two.alone, it.called, it.lane.capacity) == ("c-0.1", "c-1.1", [], 1)
    assert it.it.admitted(it.lane)[0] == set(), "none is claimed before its runner is there"
    load(one)
    it.it.look(clock.now)
    it.it.look(clock.now)
    assert it.called == ["job_1"]
    assert it.it.admitted(it.lane)[0] == {"c-0.1"}
    (run,) = waiting(it.tables, "job_1", suspect="c-0.1")
    assert it.it.group_of(run.claim) == "c-0.1"
    it.recount(one)
    assert (one.find("job_1", "1/n"), it.lane.capacity, it.lane.free()) == (run, 2, 1)


def test_a_runner_that_has_done_its_part_takes_the_next_group_and_ends_when_there_is_none(clock: Clock) -> None:
    it = Played(tables_of())
    it.wait(**{f"job_{n}": f"c-{n}.1" for n in range(5)})
    it.it.look(clock.now)
    assert [seat.alone for seat in it.further()] == ["c-0.1", "c-1.1", "c-2.1", "c-3.1"], "no more than four"
    first = it.further()[0]
    load(first)
    it.it._waiting.pop("job_0")
    it.it.look(clock.now)
    assert first.alone == "c-4.1"
    it.it._waiting.clear()
    it.it._called.clear()
    it.it.look(clock.now)
    assert len(it.further()) == 4, "for a moment: others of its group may be on their way"
    clock.now += 1.1
    it.it.look(clock.now)
    assert it.further() == []
    assert cast(PlayedProcess, cast(Any, first.process)).killed


def test_the_bound_brings_no_standstill_back(clock: Clock) -> None:
    it = Played(tables_of())
    (seat,) = it.tables.seats
    it.wait(**{f"job_{n}": f"c-{n}.1" for n in range(5)})
    it.it.look(clock.now)
    assert not seat.kept
    clock.now += 5.1
    it.it.look(clock.now)
    assert (seat.alone, it.lane.capacity) == ("c-4.1", 0)


def test_a_runner_that_does_not_load_or_hangs_is_given_up(clock: Clock) -> None:
    for hangs in (False, True):
        it = Played(tables_of())
        seat = it.tables.seats[0]
        it.wait(job_1="c-0.1")
        it.it.look(clock.now)
        (further,) = it.further()
        if hangs:
            clock.now += 13
        else:
            further.failures = 1
        it.it.look(clock.now)
        assert (it.further(), seat.alone) == ([], "c-0.1")


def test_what_was_claimed_for_a_runner_that_is_gone_is_queued_again(clock: Clock) -> None:
    it = Played(tables_of())
    it.wait(job_1="c-0.1")
    it.it.look(clock.now)
    (run,) = waiting(it.tables, "job_1", suspect="c-0.1")
    it.it.has_ended(it.further()[0])
    it.it.look(clock.now)
    assert (run.settled, it.lane.apart, it.lane.held) == (True, [], 0)
    for work in it.effects.work:
        work.close()


# -- a runner of everybody's ------------------------------------------------------------------------------------------------


def test_where_memory_is_short_a_group_has_the_runner_for_a_while_and_then_beside_others(clock: Clock, memory: dict[str, int]) -> None:
    memory["available"] = GIB
    it = Played(tables_of(concurrency=2))
    (seat,) = it.tables.seats
    (busy,) = waiting(it.tables, "busy")
    it.lane.dispatch()
    it.wait(job_1="c-0.1", job_2="c-1.1")
    it.it.look(clock.now)
    assert (it.further(), seat.reserved, seat.alone, it.lane.free()) == ([], "c-0.1", None, 0)
    seat.take_off(busy.id, "1/n")
    it.lane.held -= 1
    it.it.on_done(seat)
    assert (seat.reserved, seat.alone, it.called) == (None, "c-0.1", ["job_1"])
    (run,) = waiting(it.tables, "job_1", suspect="c-0.1")
    it.it.group_of(run.claim)
    it.recount(seat)
    assert seat.find("job_1", "1/n") is run
    clock.now += 4
    it.it.look(clock.now)
    assert (it.lane.free(), seat.alone) == (0, "c-0.1")
    clock.now += 1.1
    it.it.look(clock.now)
    assert (it.lane.free(), seat.kept) == (1, False), "others have their turn, the group goes on"
    clock.now += 1.1
    it.it.look(clock.now)
    assert seat.reserved == "c-1.1"
    clock.now += 5.1
    it.it.look(clock.now)
    assert (seat.kept, it.called) == (False, ["job_1", "job_2"]), "it has waited long enough for the runner to be empty"


def test_a_job_that_must_run_by_itself_waits_longer_next_time_and_lets_others_in_meanwhile(clock: Clock, memory: dict[str, int]) -> None:
    memory["available"] = 0
    it = Played(tables_of(concurrency=2))
    (seat,) = it.tables.seats
    _, greedy = waiting(it.tables, "busy", "job_1")
    it.lane.dispatch()
    seat.take_off("job_1", "1/n")
    it.lane.run_alone(greedy)
    it.it.on_done(seat)
    assert (seat.reserved, it.lane.free()) == ("alone-job_1", 0)
    clock.now += 5.1
    it.it.look(clock.now)
    assert (seat.kept, greedy.group) == (False, "alone-job_1.2")
    clock.now += 1.1
    it.it.look(clock.now)
    assert seat.reserved == "alone-job_1.2"
    seat.take_off("busy", "1/n")
    it.it.on_done(seat)
    assert seat.find("job_1", "1/n") is greedy


def test_of_jobs_that_one_more_crash_would_end_the_second_waits_a_while(clock: Clock) -> None:
    it = Played(tables_of())
    it.wait(job_1="job_1", job_2="job_2")
    it.it.look(clock.now)
    assert [seat.alone for seat in it.further()] == ["job_1"]
    clock.now += 5.1
    it.it.look(clock.now)
    assert [seat.alone for seat in it.further()] == ["job_1", "job_2"]


# -- blame ------------------------------------------------------------------------------------------------------------------


class World:
    """One GPU's runner with a culprit, which crashes it after so many seconds, innocents, and fresh jobs all the time."""

    def __init__(self, clock: Clock, fatal: float, innocents: int, takes: float) -> None:
        self.clock, self.fatal, self.takes = clock, fatal, takes
        self.played = Played(tables_of(concurrency=16, terms=Terms(gpus=1)))
        self.played.it.call = self.claim
        (self.seat,), self.lane = self.played.tables.seats, self.played.lane
        self.group = {"culprit": "", **{f"job_{n}": "" for n in range(innocents)}}
        self.fresh = deque(self.group)
        self.charged, self.runs, self.ended, self.number = Counter[str](), Counter[str](), set[str](), 0

    def claim(self, found: Sequence[Suspect]) -> None:
        for each in found:
            self.take(each.id)

    def take(self, job_id: str) -> None:
        claim = Claim(job_id, "1/n", b"{}", Policy(), self.group[job_id], 0, 0, 0)
        group = self.played.it.group_of(claim) if claim.suspect else ""
        run = Run(claim, self.lane.name, PlayedSink(), group=group)
        self.played.tables.runs[job_id] = run
        self.lane.held += 1
        self.lane.add(run)
        self.lane.dispatch()

    def step(self) -> None:
        self.clock.now += 0.5
        held = self.played.tables.runs
        for run in self.seat.runs():
            assert run.started is not None
            if run.id == "culprit" and self.clock.now - run.started >= self.fatal:
                self.crash()
                break
            if run.id != "culprit" and self.clock.now - run.started >= self.takes:
                self.seat.take_off(run.id, "1/n")
                self.lane.held -= 1
                del held[run.id]
                self.ended.add(run.id)
                self.runs[run.id] += 1
        self.played.it._waiting = {
            job_id: Suspect(self.lane.name, "4", job_id, group)
            for job_id, group in self.group.items()
            if group and job_id not in held and job_id not in self.ended
        }
        self.played.it.look(self.clock.now)
        if len(self.fresh) < 4 and "culprit" not in self.ended:
            self.number += 1
            self.group[f"fresh_{self.number}"] = ""
            self.fresh.append(f"fresh_{self.number}")
        self.played.recount(self.seat)
        while self.fresh and self.lane.free():
            self.take(self.fresh.popleft())

    def crash(self) -> None:
        aboard = self.seat.runs()
        self.runs.update(run.id for run in aboard)
        self.seat._reset()
        load(self.seat)
        for run in aboard:
            self.lane.held -= 1
            del self.played.tables.runs[run.id]
        if len(aboard) == 1:
            self.charged[aboard[0].id] += 1
            self.fresh.extend(run.id for run in aboard if not run.claim.suspect)
        else:
            self.group |= groups_of({run.id: run.claim.suspect for run in aboard}, apart=all(run.group for run in aboard))


@pytest.mark.parametrize(("fatal", "takes"), [(1, 3), (7, 3), (7, 30), (40, 10), (90, 300), (600, 20)])
def test_a_culprit_is_charged_in_the_end_however_late_it_crashes_and_nobody_else_ever_is(clock: Clock, fatal: float, takes: float) -> None:
    world = World(clock, fatal, innocents=15, takes=takes)
    for _ in range(40_000):
        world.step()
        if world.charged["culprit"] == 3 or sum(world.charged.values()) > world.charged["culprit"]:
            world.ended.add("culprit")
            break
    assert world.charged == {"culprit": 3}
    while len(world.ended) < len(world.group):
        world.step()
    assert max(world.runs[name] for name in world.group if name != "culprit") <= 7
