"""How one runner takes over from another, and what a worker announces of both."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.worker.played import ECHO, Recorder, started, tables_of

from longrun.settings import Settings
from longrun.worker import recycle
from longrun.worker.announce import announcement
from longrun.worker.recycle import Recycler
from longrun.worker.supervise.guard import Guard
from longrun.worker.supervise.terms import Terms
from longrun.worker.tables import Tables

GIB = 1 << 30


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bytes that are available, and that each runner holds."""
    memory = {"available": 8 * GIB, "held": GIB}
    monkeypatch.setattr(recycle, "available_memory", lambda: memory["available"])
    monkeypatch.setattr(recycle, "memory_of", lambda pids: dict.fromkeys(pids, memory["held"]))
    return memory


def recycler(tables: Tables) -> tuple[Recycler, Recorder]:
    effects = Recorder()
    return Recycler(tables, Guard(), effects.spawn, effects.recount), effects


def no_start(effects: Recorder) -> None:
    for work in effects.work:
        work.close()


def test_after_its_jobs_a_runner_is_replaced_by_one_that_loads_beside_it(free: dict[str, int]) -> None:
    tables = tables_of(terms=Terms(max_jobs=2))
    (old,) = tables.seats
    it, effects = recycler(tables)
    old.jobs = 1
    it.on_done(old)
    assert tables.seats == [old]
    old.jobs = 2
    it.on_done(old)
    it.on_done(old)
    _, new = tables.seats
    assert (old.role, new.role, len(effects.work)) == ("serving", "standby", 1)
    new.process = old.process
    new.has_loaded("echo", 1.0, 0.0)
    it.on_ready(new)
    assert (old.role, new.role, old.ending) == ("retiring", "serving", True), "it held nothing, so it is ended"
    assert not it.next_here(old)
    assert tables.seats == [new]
    no_start(effects)


def test_where_memory_is_short_the_old_one_goes_first_when_its_last_job_has_ended(free: dict[str, int]) -> None:
    free["available"] = GIB
    tables = tables_of(terms=Terms(max_jobs=1))
    started(tables, "job_1")
    (seat,) = tables.seats
    it, effects = recycler(tables)
    it.replace(seat, "it is old")
    assert (tables.seats, seat.role, seat.ending) == ([seat], "retiring", False)
    assert effects.named("recount") == [[seat]]
    seat.take_off("job_1", "1/n")
    it.on_done(seat)
    assert seat.ending
    assert it.next_here(seat)
    assert seat.role == "serving"


def test_a_runner_that_must_go_before_the_next_one_keeps_nobody_waiting_for_ever(free: dict[str, int]) -> None:
    """What is in it may wait for one of those who wait."""
    free["available"] = GIB
    tables = tables_of(terms=Terms(max_jobs=1), concurrency=2)
    started(tables, "job_1", "job_2")
    (seat,) = tables.seats
    it, effects = recycler(tables)
    for patience in (5, 20):
        seat.jobs = 1
        it.on_done(seat)
        seat.retired_at -= patience - 1
        it._look(seat)
        assert seat.role == "retiring"
        seat.retired_at -= 2
        it._look(seat)
        assert seat.role == "serving"
        assert effects.named("recount")[-1] == [seat]


def test_one_runner_of_a_group_is_replaced_at_a_time_and_none_when_the_worker_stops(free: dict[str, int]) -> None:
    tables = tables_of(seats=2)
    one, two = tables.seats
    it, effects = recycler(tables)
    it.replace(one, "it is old")
    it.replace(two, "it is old")
    assert [seat.role for seat in tables.seats] == ["serving", "serving", "standby"]
    no_start(effects)
    tables = tables_of()
    tables.closing = True
    it, effects = recycler(tables)
    it.replace(tables.seats[0], "it is old")
    assert (len(tables.seats), effects.calls, effects.work) == (1, [], [])


def test_a_worker_announces_its_runners_models_and_jobs(settings_alone: Settings) -> None:
    tables = tables_of(concurrency=2, seats=2)
    started(tables, "job_1")
    tables.seats[1].failures, tables.seats[1].ready = 3, {}
    entry: dict[str, Any] = json.loads(announcement("1f3a9c", "w1", tables, settings_alone, {1000: 5}))
    assert (entry["name"], entry["identity"]) == ("w1", "1f3a9c")
    assert (entry["running"], entry["jobs"], entry["stopping"], entry["lease"]) == (1, ["job_1"], False, 10)
    assert [(each["pid"], each["loaded"], each["running"], each["memory"]) for each in entry["runners"]] == [
        (1000, True, 1, 5),
        (1001, False, 0, None),
    ]
    shown = entry["models"][ECHO.name]
    assert (shown["state"], shown["runners"], shown["ready"], shown["running"], shown["failures"]) == ("ready", 2, 1, 1, 3)


@pytest.fixture
def settings_alone() -> Settings:
    """The defaults."""
    return Settings()
