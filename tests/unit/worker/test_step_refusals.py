"""What runners ask for that they do not get: it is refused, too late, too much, or nobody foresaw it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.unit.worker.played import desk_with, frames, item, send

from longrun.store.connection import StoreError
from longrun.store.steps import Answer, Refused
from longrun.worker import steps


async def test_s29_sleeps_and_waits_are_refused_to_a_job_that_must_not_run_twice_and_it_does_not_wait_for_them() -> None:
    desk, seat, run = desk_with(delivery="at_most_once")
    await desk.ask(run, ["z:1", "m", "sleep", 1.5], ["s:ok", "m", "wait", "ok", 60, b"{}", b"{}"], item())
    rows = frames(seat, "answer")[0][6]
    assert [(row[0], row[1], orjson.loads(row[2])["code"]) for row in rows] == [(key, "refused", "at-most-once") for key in ("z:1", "s:ok")]
    assert (len(desk.steps.calls[0][2]), desk.steps.calls[0][4], run.parked) == (1, 0, False)


async def test_an_unknown_model_and_a_file_that_is_not_there_are_refused_and_the_others_are_made() -> None:
    desk, seat, run = desk_with([], Answer(0, False, 1, []))
    await desk.ask(run, item("n:a", "nothing"), item("n:b", files=["file_2"]), item("n:c"))
    rows = frames(seat, "answer")[0][6]
    assert [(row[0], orjson.loads(row[2])["code"]) for row in rows] == [("n:a", "unknown-model"), ("n:b", "file-not-found")]
    assert [call.key for call in desk.steps.calls[1][2]] == ["n:c"]


async def test_what_the_store_refuses_is_answered_for_each_step() -> None:
    desk, seat, run = desk_with(Refused("over-budget", "It has used 2 of cost_usd."))
    await desk.ask(run, item("n:a"), item("n:b"))
    rows = frames(seat, "answer")[0][6]
    assert [(row[0], row[1], orjson.loads(row[2])) for row in rows] == [
        (key, "refused", {"code": "over-budget", "detail": "It has used 2 of cost_usd."}) for key in ("n:a", "n:b")
    ]
    assert not run.parked


@pytest.mark.parametrize("answer", [None, StoreError("a script failed")])
async def test_who_has_lost_its_claim_or_asks_what_the_store_cannot_do_is_told_so(answer: Any) -> None:
    desk, seat, run = desk_with(answer)
    await desk.ask(run, item())
    assert (frames(seat, "stale"), frames(seat, "answer"), run.parked) == ([("job_1", "1/n", 1)], [], False)


@pytest.mark.parametrize(
    ("reason", "kept"), [("canceled", ["journal", "history", "drop"]), ("timeout", ["journal", "history", "drop"]), ("lost", []), ("", [])]
)
async def test_no_step_is_begun_for_a_run_that_is_to_stop_and_what_was_paid_is_kept(reason: Any, kept: list[str]) -> None:
    desk, seat, run = desk_with()
    if reason:
        desk.limits.request_stop(run, reason)
    else:
        run.settle()
    await desk.ask(run, item())
    await send(desk, "awake")
    await send(desk, "journal", 2, [["l:a", b"d m 1"]], [])
    await send(desk, "history", 3)
    await send(desk, "drop", ["n:a"])
    assert [call[0] for call in desk.steps.calls] == kept
    assert [frame[2] for frame in frames(seat, "stale")] == ([1] if kept else [1, 2, 3])


@pytest.mark.parametrize(
    "members",
    [
        (),
        ("1", 0, 1, 0, []),
        (1, 0, 1, 0),
        (1, 0, 1, 0, [["n:a"]]),
        (1, 0, 1, 0, [7]),
        (1, 0, 1, 0, [["n:a", "m", "run", "draw", 7, [], {}]]),
        (1, 0, 1, 0, [["n:a", "m", "run", "draw", b"1", None, {}]]),
        (1, 0, 1, 0, [["n:a", "m", "run", "draw", b"1", [], {"timeout": "soon"}]]),
        (1, 0, "1", 0, []),
        (1, None, 1, 0, []),
        (1, 0, 1, 0, [["z:1", "m", "sleep", None]]),
        (1, 0, 1, 0, None),
    ],
)
async def test_what_cannot_be_read_is_refused_and_harms_nobody(members: Any) -> None:
    desk, seat, run = desk_with()
    await send(desk, "ask", *members)
    assert desk.steps.calls == []
    assert frames(seat, "stale") == ([("job_1", "1/n", 1)] if members[:1] == (1,) else [])
    await desk.ask(run, item())
    assert run.parked, "the next one is answered"


async def test_a_runner_that_floods_the_worker_with_requests_is_refused_what_is_too_much() -> None:
    desk, seat, _ = desk_with()
    for n in range(steps.MOST_REQUESTS + 5):
        desk.requests.take(seat, "history", "job_1", "1/n", [n])
    assert [frame[2] for frame in frames(seat, "stale")] == [steps.MOST_REQUESTS + n for n in range(5)]
    await desk.effects.settled()
    assert [frame[2] for frame in frames(seat, "history")] == list(range(steps.MOST_REQUESTS)), "in their order"
    desk.requests.take(seat, "history", "job_9", "1/n", [1])
    assert desk.effects.work == [], "of a job that is not there nothing is kept"


@pytest.mark.parametrize("error", [AssertionError("nobody foresaw this"), StoreError("nor this")])
async def test_an_error_that_nobody_foresaw_ends_the_attempt_of_a_parent_that_goes_on(error: Exception) -> None:
    desk, seat, run = desk_with(Answer(0, True, 5000), error)
    await desk.ask(run, item())
    assert run.parked
    desk.parking.wake(run)
    await desk.effects.settled()
    assert (run.stop, len(frames(seat, "cancel"))) == ("lost", 1), "else it would hold its slot for ever, and wait"


async def test_an_error_that_nobody_foresaw_ends_the_attempt_that_asks_and_what_it_asks_next_is_refused() -> None:
    desk, seat, run = desk_with(AssertionError("nobody foresaw this"))
    for n in (1, 2):
        desk.requests.take(seat, "ask", "job_1", "1/n", [n, 0, 1, 0, [item()]])
    await desk.effects.settled()
    assert (run.stop, frames(seat, "stale")) == ("lost", [("job_1", "1/n", 2)])
