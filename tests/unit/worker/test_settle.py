"""What becomes of a job that has ended in its runner, or whose runner has ended."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest
from tests.unit.worker.played import PlayedClaims, PlayedProcess, PlayedSink, Recorder, emitter_of, started, tables_of, waiting

from longrun.errors import StorageFull, StoreUnavailable
from longrun.jobs.failure import JobFailure
from longrun.jobs.fence import fence_of
from longrun.store.claims import Claims, FilesLost
from longrun.worker.blame import times_suspected
from longrun.worker.run import Run
from longrun.worker.settle import Settler
from longrun.worker.settle import _usage as usage_of
from longrun.worker.supervise.exits import Exit
from longrun.worker.tables import Tables

FAILURE = JobFailure("model-error", "It broke.", 1).to_json()


def settler(tables: Tables, *answers: Any) -> tuple[Settler, PlayedClaims, Recorder]:
    claims, effects = PlayedClaims(*answers), Recorder()
    emitter = emitter_of(claims, effects)
    return Settler(tables, cast(Claims, claims), emitter, effects.spawn, effects.recount, effects.post, cast(Any, None)), claims, effects


def played(tables: Tables) -> PlayedProcess:
    return cast(PlayedProcess, tables.seats[0].process)


def done(job_id: str, kind: str = "ok", extra: Any = None) -> list[Any]:
    return [job_id, "1/n", kind, b'"out"' if kind == "ok" else FAILURE, (0.2, 0.0, 0.1), extra]


async def test_successes_of_one_turn_are_written_together_and_the_runner_has_room_again() -> None:
    tables = tables_of(concurrency=2)
    one, two = started(tables, "job_1", "job_2")
    it, claims, effects = settler(tables)
    it.on_done(tables.seats[0], [done("job_1"), done("job_2")])
    assert (one.settled, two.settled, tables.seats[0].empty) == (True, True, True)
    assert effects.named("recount") == [[tables.seats[0]]]
    await effects.settled()
    assert claims.calls == [("succeeded", "job_1", b'"out"'), ("succeeded", "job_2", b'"out"')]
    assert tables.runs == {}
    assert [args[1:] for args in effects.named("post")] == [["succeeded", 0.1]] * 2


async def test_runs_whose_successes_could_not_be_written_for_a_reason_nobody_foresaw_leave_the_worker() -> None:
    tables = tables_of(concurrency=2)
    started(tables, "job_1", "job_2")
    it, claims, effects = settler(tables)

    async def fails(_: Any) -> Any:
        raise AssertionError("nobody foresaw this")

    claims.finish_all = fails  # type: ignore[method-assign]
    it.on_done(tables.seats[0], [done("job_1"), done("job_2")])
    await effects.settled()
    assert tables.runs == {}, "they are renewed no longer, and run again when their leases are over"


async def test_files_that_the_store_has_lost_are_recorded_again_before_the_success_that_names_them() -> None:
    tables = tables_of(concurrency=2)
    one, _ = started(tables, "job_1", "job_2")
    it, claims, effects = settler(tables, FilesLost("lost"), "succeeded", FilesLost("lost"))
    it.emitter.add(one, [("file", b"{}")])
    await effects.settled()
    appended = claims.calls.count(("append", "job_1", [("file", b"{}")]))
    it.on_done(tables.seats[0], [done("job_1"), done("job_2")])
    await effects.settled()
    success = ("succeeded", "job_1", b'"out"')
    assert appended == 1
    assert [call for call in claims.calls[1:] if call[1] == "job_1"] == [success, success, ("append", "job_1", [("file", b"{}")]), success]
    assert tables.runs == {}
    assert [args[1] for args in effects.named("post")] == ["succeeded"] * 2


async def test_an_answer_for_an_attempt_that_is_not_there_is_nothing() -> None:
    tables = tables_of()
    it, claims, effects = settler(tables)
    it.on_done(tables.seats[0], [done("job_9")])
    await effects.settled()
    assert claims.calls == []


async def test_an_answer_is_for_the_claim_that_it_names_also_when_another_of_the_number_is_there() -> None:
    tables = tables_of(concurrency=2)
    (first,) = started(tables, "job_1")
    (seat,), (lane,) = tables.seats, tables.lanes.values()
    again = Run(replace(first.claim, fence=fence_of(1, "m")), first.lane, PlayedSink())
    tables.runs[again.id] = again
    lane.held += 1
    lane.add(again)
    lane.dispatch()
    assert seat.runs() == [first, again]
    it, claims, effects = settler(tables)
    it.on_done(seat, [done("job_1")])
    await effects.settled()
    assert (seat.runs(), tables.runs, again.settled) == ([again], {"job_1": again}, False)
    it.on_done(seat, [["job_1", "1/m", *done("job_1")[2:]]])
    await effects.settled()
    assert tables.runs == {}
    assert [call[0] for call in claims.calls].count("succeeded") == 2, "the store refuses the first one"


@pytest.mark.parametrize(("retryable", "status"), [(True, "retrying"), (False, "failed")])
async def test_an_error_is_tried_again_where_the_model_says_so(retryable: bool, status: str) -> None:
    tables = tables_of()
    started(tables, "job_1", max_attempts=3)
    it, claims, effects = settler(tables)
    it.on_done(tables.seats[0], [done("job_1", "error", [retryable, None, None])])
    await effects.settled()
    assert claims.calls == [(status, "job_1", FAILURE)]


@pytest.mark.parametrize("asked", ["soon", [], 2**63, float("nan"), float("inf"), -1.0])
async def test_whatever_a_job_asked_to_wait_its_outcome_is_stored(asked: Any) -> None:
    tables = tables_of()
    started(tables, "job_1", max_attempts=3)
    it, claims, effects = settler(tables)
    it.on_done(tables.seats[0], [done("job_1", "error", [True, asked, None])])
    await effects.settled()
    assert claims.calls == [("retrying", "job_1", FAILURE)]


async def test_an_outcome_waits_for_a_full_store_and_is_given_up_for_one_that_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longrun.worker.settle._FULL_PAUSE", 0.0)
    tables = tables_of(concurrency=2)
    started(tables, "job_1", "job_2")
    it, claims, effects = settler(tables, StorageFull("no room"), StoreUnavailable("gone"), "succeeded")
    it.on_done(tables.seats[0], [done("job_1"), done("job_2")])
    await effects.settled()
    assert claims.calls == [("succeeded", "job_1", b'"out"'), ("succeeded", "job_2", b'"out"'), ("succeeded", "job_1", b'"out"')]
    assert [args[1] for args in effects.named("post")] == ["stale", "succeeded"]
    assert tables.runs == {}


async def test_a_job_that_was_alone_in_a_dead_runner_is_charged_and_several_are_suspects_of_different_groups() -> None:
    for jobs, mode in ((["job_1"], "crash"), (["job_1", "job_2"], "suspect")):
        tables = tables_of(concurrency=2)
        runs = started(tables, *jobs)
        waited = waiting(tables, "job_3")
        it, claims, effects = settler(tables)
        it.on_runner_end(runs, set(), Exit(-11))
        await effects.settled()
        assert [call[:3] for call in claims.calls] == [("queued", each, mode) for each in jobs]
        groups = {call[3] for call in claims.calls}
        assert len(groups) == len(jobs)
        assert list(tables.runs.values()) == waited, "what waits here has nothing to do with it"


async def test_a_crash_of_suspects_that_had_the_runner_to_themselves_does_not_make_them_wait_longer() -> None:
    for apart, times in ((True, 2), (False, 3)):
        tables = tables_of(concurrency=2)
        runs = started(tables, "job_1", "job_2")
        for run in runs:
            run.begin_anew("crash-0.2")
            run.begin(0.0)
        runs[0].group = "crash-0.2" if apart else ""
        it, claims, effects = settler(tables)
        it.on_runner_end(runs, set(), Exit(-11))
        await effects.settled()
        assert {times_suspected(call[3]) for call in claims.calls} == {times}


async def test_a_runner_that_was_killed_for_one_job_ends_that_one_and_releases_the_others() -> None:
    tables = tables_of(concurrency=3)
    culprit, neighbour, idle = started(tables, "job_1", "job_2", "job_3")
    culprit.request_stop("canceled", 0.0, 1.0)
    idle.started = None
    it, claims, effects = settler(tables)
    it.on_runner_end([culprit, neighbour, idle], {culprit}, Exit(-9, ours=True))
    await effects.settled()
    assert [call[:3] for call in claims.calls[1:]] == [("queued", "job_2", "release"), ("queued", "job_3", "unstarted")]
    assert claims.calls[0][:2] == ("canceled", "job_1")
    assert culprit.stopped_by == "kill"


async def test_of_an_attempt_that_was_lost_nothing_is_written() -> None:
    tables = tables_of()
    (run,) = started(tables, "job_1")
    run.request_stop("lost", 0.0, 1.0)
    it, claims, effects = settler(tables)
    it.stop(run, "fenced")
    it.stop(run, "fenced")
    await effects.settled()
    assert (claims.calls, [args[1] for args in effects.named("post")]) == ([], ["stale"])


@pytest.mark.parametrize("reason", ["canceled", "timeout"])
async def test_an_error_after_a_request_to_stop_is_a_way_to_stop_unless_time_was_over(reason: Any) -> None:
    tables = tables_of()
    (run,) = started(tables, "job_1")
    run.request_stop(reason, 0.0, 1.0)
    it, claims, effects = settler(tables)
    it.on_done(tables.seats[0], [done("job_1", "error", [False, None, "flag"])])
    await effects.settled()
    assert claims.calls[0][:2] == (("canceled" if reason == "canceled" else "failed"), "job_1")
    assert (claims.calls[0][2] == FAILURE) is (reason == "timeout")


async def test_what_waits_for_everybodys_runner_goes_back_and_suspects_that_have_one_to_themselves_stay() -> None:
    tables = tables_of()
    waiting(tables, "job_1")
    (suspect,) = waiting(tables, "job_2", suspect="crash-0.1")
    (lane,) = tables.lanes.values()
    it, claims, effects = settler(tables)
    it.give_back(lane.pending)
    await effects.settled()
    assert claims.calls == [("queued", "job_1", "unstarted", "")]
    assert (list(lane.pending), lane.apart, lane.held) == ([], [suspect], 1)


async def test_a_worker_that_stops_puts_tickets_and_claims_back() -> None:
    tables = tables_of()
    started(tables, "job_1", "job_2")
    (lane,) = tables.lanes.values()
    lane.inbox.append(("job_3", cast(Any, None)))
    it, claims, effects = settler(tables)
    await it.give_up_waiting()
    await it.hand_all_back()
    assert claims.calls == [("requeue", ["job_3"]), ("queued", "job_2", "unstarted", ""), ("queued", "job_1", "release", "")]
    assert tables.runs == {}
    assert effects.named("post") != []


async def test_the_figures_of_a_run_are_those_of_its_runner_and_final_when_it_is_settled() -> None:
    tables = tables_of(concurrency=2)
    one, two = started(tables, "job_1", "job_2")
    one.since = one.waits_since = 100.0
    it, _, effects = settler(tables)
    it.on_done(tables.seats[0], [[one.id, "1/n", "ok", b"1", (9.0, 100.5, 2.0), None]])
    await effects.settled()
    assert (one.wait_s, one.run_s) == (0.5, 2.0)
    # This one is ended without its runner's answer, which comes later and counts for nothing.
    two.since = two.waits_since = 100.0
    played(tables).in_code["job_2"] = 103.0, 4.0
    it.stop(two, "fenced")
    it.on_done(tables.seats[0], [[two.id, "1/n", "ok", b"1", (99.0, 103.0, 60.0), None]])
    await effects.settled()
    assert (two.wait_s, two.run_s) == (3.0, 4.0)
    assert [args[2] for args in effects.named("post")] == [2.0, 4.0]


async def test_what_code_never_ran_has_no_run_time_though_the_worker_thought_that_it_had_begun() -> None:
    tables = tables_of()
    (run,) = started(tables, "job_1")
    it, _, effects = settler(tables)
    it.on_done(tables.seats[0], [["job_1", 1, "error", FAILURE, (0.5, None, None), [False, None, None]]])
    await effects.settled()
    assert (run.run_s, usage_of(run)) == (None, b"")


def test_what_a_run_waited_for_its_steps_is_a_figure_of_its_own() -> None:
    (run,) = started(tables_of(), "job_1")
    run.has_run(run.since + 0.25, 1.5)
    now = time.monotonic()
    run.wait(now - 60)
    run.go_on(now - 50)
    run.wait(now - 5)
    used = usage_of(run)
    assert used.startswith(b'{"run_s":1.5,"wait_s":0.25,"steps_s":'), "the store reads them in this order"
    assert orjson.loads(used)["steps_s"] == pytest.approx(15, abs=2)


def test_a_model_cannot_report_what_is_ours() -> None:
    (run,) = started(tables_of(), "job_1")
    run.has_run(run.since + 0.25, 1.5)
    run.backlog.usage = b'{"run_s":900,"tokens":3,"queue_s":7,"wait_s":-1,"steps_s":9}'
    assert usage_of(run) == b'{"run_s":1.5,"wait_s":0.25,"tokens":3}'


def test_a_run_that_goes_again_alone_has_the_seconds_of_both_and_waits_twice() -> None:
    (run,) = started(tables_of(), "job_1")
    run.since = run.waits_since = 100.0
    run.has_run(100.25, 1.5)
    before = time.monotonic()
    run.begin_anew("alone")
    assert before <= run.waits_since
    again = run.waits_since
    run.has_run(again + 0.5, 2.0)
    assert (run.wait_s, run.run_s) == (pytest.approx(0.75), 3.5)


@pytest.mark.parametrize(("ago", "status"), [(0, "retrying"), (60, "failed")])
async def test_all_time_since_the_claim_counts_for_the_total_and_not_that_of_the_code_alone(ago: float, status: str) -> None:
    tables = tables_of()
    (run,) = started(tables, "job_1", max_attempts=3, total_timeout=50)
    run.since -= ago
    it, claims, effects = settler(tables)
    it.on_done(tables.seats[0], [done("job_1", "error", [True, None, None])])
    await effects.settled()
    assert claims.calls[0][0] == status
