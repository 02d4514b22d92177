"""The steps by which a job is stopped, as its runner and the store see them."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from tests.unit.worker.played import ECHO, TOGETHER, Recorder, frames, started, tables_of, waiting

from longrun.worker import stopping
from longrun.worker.limits import Limits
from longrun.worker.settle import Settler
from longrun.worker.tables import Tables


def limits(tables: Tables) -> tuple[Limits, Recorder]:
    effects = Recorder()
    return Limits(tables, 1.0, cast(Settler, effects), effects.recount, effects.replace, effects.rouse), effects


def test_a_job_that_waits_ends_at_once() -> None:
    tables = tables_of()
    started(tables, "job_1")
    (run,) = waiting(tables, "job_2")
    it, effects = limits(tables)
    it.request_stop(run, "canceled")
    (lane,) = tables.lanes.values()
    assert (list(lane.pending), lane.held) == ([], 1)
    assert effects.calls == [("stop", run), ("recount", tables.seats[0])]


def test_a_job_gets_the_flag_then_the_exception_then_its_runner_is_killed() -> None:
    tables = tables_of()
    (run,), (seat,) = started(tables, "job_1"), tables.seats
    it, _ = limits(tables)
    it.request_stop(run, "canceled")
    it.look(run.stop_at + 0.3)
    assert frames(seat, "cancel") == [([("job_1", "1/n")], "canceled", False)]
    it.look(run.stop_at + 0.4)
    it.look(run.stop_at + 0.9)
    assert frames(seat, "cancel")[1:] == [([("job_1", "1/n")], "canceled", True)]
    assert not seat.doomed
    it.look(run.stop_at + 1.1)
    assert (seat.doomed, seat.process.killed) == ({run}, True)  # type: ignore[union-attr]


def test_a_job_whose_time_is_over_is_asked_to_stop_for_that() -> None:
    tables = tables_of()
    (run,), (seat,) = started(tables, "job_1", timeout=5), tables.seats
    it, _ = limits(tables)
    it.look((run.started or 0) + 4.9)
    assert run.stop is None
    it.look((run.started or 0) + 5.1)
    assert run.stop == "timeout"
    assert frames(seat, "cancel")[0] == ([("job_1", "1/n")], "timeout", False)


def test_beside_others_it_is_given_up_and_the_runner_lives_on() -> None:
    tables = tables_of(concurrency=8)
    run, *_ = started(tables, "job_1", "job_2")
    (seat,) = tables.seats
    it, effects = limits(tables)
    it.request_stop(run, "canceled")
    seat.pong_at = run.stop_at + 1
    it.look(run.stop_at + 1.1)
    assert effects.calls[:2] == [("stop", run, "fenced"), ("recount", seat)]
    assert not seat.doomed


def test_one_item_of_a_running_batch_ends_at_once_and_with_the_last_the_batch_is_stopped() -> None:
    tables = tables_of(TOGETHER)
    one, two = started(tables, "job_1", "job_2")
    (seat,) = tables.seats
    it, effects = limits(tables)
    it.request_stop(one, "canceled")
    assert (effects.calls, frames(seat, "cancel")) == ([("stop", one, "fenced")], [])
    one.settle()
    it.request_stop(two, "canceled")
    assert frames(seat, "cancel") == [([("job_2", "1/n"), ("job_1", "1/n")], "canceled", False)]


def test_a_second_request_counts_only_after_a_time_limit_and_none_after_the_end() -> None:
    assert stopping.counts(None, "timeout")
    assert stopping.counts("timeout", "lost")
    assert not stopping.counts("canceled", "timeout")
    assert not stopping.counts("timeout", "timeout")
    tables = tables_of()
    (run,), (seat,) = started(tables, "job_1"), tables.seats
    it, _ = limits(tables)
    run.settle()
    it.request_stop(run, "canceled")
    assert frames(seat, "cancel") == []


def test_behind_a_long_job_nothing_waits() -> None:
    tables = tables_of()
    (lane,) = tables.lanes.values()
    long, (waits,) = started(tables, "job_1")[0], waiting(tables, "job_2")
    it, effects = limits(tables)
    it.look((long.started or 0) + 0.1)
    assert not lane.slow
    it.look((long.started or 0) + 0.5)
    assert lane.slow
    assert effects.calls == [("give_back", lane.pending), ("recount", tables.seats[0])]
    assert list(lane.pending) == [waits], "the recorder gives nothing back"


def test_what_waits_for_a_runner_that_is_not_there_or_is_kept_for_suspects_goes_back() -> None:
    tables = tables_of()
    (lane,), (seat,) = tables.lanes.values(), tables.seats
    waiting(tables, "job_1")
    it, effects = limits(tables)
    it.look(time.monotonic() + 9)
    assert effects.calls == []
    seat.keep_for("c-0.1", 0.0)
    lane.count_capacity()
    it.look(time.monotonic() + 0.5)
    assert effects.calls == [], "it may be back in a moment"
    it.look(time.monotonic() + 1.5)
    assert effects.calls == [("give_back", lane.pending)]
    seat.keep_for(None, 0.0)
    lane.count_capacity()
    assert not lane.is_shut(time.monotonic() + 9)


@pytest.mark.parametrize(("by", "rest"), [("flag", ""), ("fenced", " Its process holds other jobs too"), (None, "")])
def test_the_failure_says_which_limit_was_over_and_how_it_was_stopped(by: Any, rest: str) -> None:
    failure = stopping.failure("timeout", 2, "timeout of 5 s", by, (5.0001, 0.25))
    assert failure.detail.startswith(f"The job had not ended within its timeout of 5 s.{rest}")
    assert (failure.code, failure.attempt, failure.stopped_by) == ("timeout", 2, by)
    assert (failure.run_s, failure.stop_s) == ((None, None) if by is None else (5.0, 0.25))
    assert stopping.failure("canceled", 1, "", by, (1.0, 1.0)).detail.startswith(f"The job was canceled.{rest}")


@pytest.mark.parametrize(("spec", "jobs", "places"), [(ECHO, 4, 4), (TOGETHER, 8, 2)])
def test_a_runner_gets_no_more_jobs_when_half_of_its_places_are_held_by_what_was_given_up(spec: Any, jobs: int, places: int) -> None:
    tables = tables_of(spec, concurrency=places)
    runs = started(tables, *[f"job_{n}" for n in range(jobs)])
    (lane,), (seat,) = tables.lanes.values(), tables.seats
    half = runs[: jobs // 2]
    for run in half[:-1]:
        run.settle()
    assert not lane.has_clogged(seat), "somebody still waits for what is in that place"
    half[-1].settle()
    assert lane.has_clogged(seat)
    lane.count_capacity()
    assert (lane.room(seat), lane.capacity) == (0, 0)
