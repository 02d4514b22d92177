"""What runners ask for while their jobs run steps, and what they are answered. A runner is not trusted."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest
from tests.unit.worker.played import DRAW, Desk, desk_with, frames, item, send, started, tables_of

from longrun.errors import StorageFull, StoreUnavailable
from longrun.jobs.flow import Flow
from longrun.jobs.policy import Policy
from longrun.models import ModelOptions
from longrun.settings import Settings
from longrun.store.steps import Answer, Child, OldFormat, Result, SignalWait, Sleep, StillStops, Terms
from longrun.worker import steps
from longrun.worker.run import Run
from longrun.worker.step_calls import terms_of
from longrun.worker.supervise.exits import Exit


async def child_of(desk: Desk, run: Run, **options: Any) -> Child:
    await desk.ask(run, item(**options), need=0)
    child = desk.steps.calls[-1][2][0]
    assert isinstance(child, Child)
    return child


async def test_a_step_is_made_of_its_model_and_what_the_runner_says() -> None:
    desk, _, run = desk_with()
    child = await child_of(desk, run, data='{"prompt":"x"}', files=["file_1"], stream=True)
    assert (child.key, child.mark, child.model, child.queue, child.input, child.stream, child.detached) == (
        *("n:a", "c~p~d", "draw", "gpu", b'{"prompt":"x"}'), True, False
    )  # fmt: skip
    assert orjson.loads(child.files)["file_1"]["key"] == "key-of-file_1"
    assert Policy.from_json(child.policy) == Policy(max_attempts=3, total_timeout=100)
    await desk.ask(run, ["z:1", "m", "sleep", 1.5], ["s:ok", "m", "wait", "ok", 60, "{}", b"{}"], need=0)
    assert desk.steps.calls[-1][2] == [Sleep("z:1", "m", 1.5), SignalWait("s:ok", "m", "ok", 60, b"{}", b"{}")]


@pytest.mark.parametrize(
    ("left", "options", "total"),
    [
        (None, {}, 100),
        (None, {"timeout": 7}, 7),
        (None, {"timeout": 700}, 100),
        (50, {}, 50),
        (50, {"timeout": 7}, 7),
        (5, {"timeout": 7}, 5),
        (5, {"detached": True}, 100),
        (-1, {}, 0.001),
    ],
)
async def test_s19_a_childs_total_timeout_is_cut_to_what_its_parent_has_left(left: float | None, options: Any, total: float) -> None:
    desk, _, run = desk_with(**({} if left is None else {"total_timeout": 1000}))
    if left is not None:
        run.since = time.monotonic() + left - 1000
    policy = Policy.from_json((await child_of(desk, run, **options)).policy)
    assert policy.total_timeout == pytest.approx(total, abs=0.1 if total >= 1 else 0)


def test_s27_the_limits_of_a_tree_are_those_of_the_model_of_its_root_and_the_operators() -> None:
    assert terms_of(ModelOptions(), Settings()) == Terms(10, 1000, b"")
    options = ModelOptions(max_depth=3, max_tree=50_000, budget={"cost_usd": 2})
    assert terms_of(options, Settings(max_tree=20_000)) == Terms(3, 20_000, b'{"cost_usd":2.0}')


async def test_what_a_job_has_said_is_stored_before_its_steps_which_may_name_its_files() -> None:
    desk, _, run = desk_with()
    order: list[str] = []
    append, ask = desk.claims.append, desk.steps.ask

    async def noted(name: str, call: Any, *args: Any, **named: Any) -> Any:
        order.append(name)
        return await call(*args, **named)

    desk.claims.append = lambda *args: noted("append", append, *args)  # type: ignore[method-assign]
    desk.steps.ask = lambda *args, **named: noted("ask", ask, *args, **named)  # type: ignore[method-assign]
    run.backlog.add("file", b"{}")
    await desk.ask(run, item())
    assert order == ["append", "ask"]


async def test_the_answer_is_what_the_store_says_and_a_run_that_waits_is_parked() -> None:
    results = [Result("n:a", "succeeded", b"1", b"{}", "job_9"), Result("z:1", "pending", due=9000)]
    desk, seat, run = desk_with(Answer(4, False, 5000, results), Answer(4, True, 6000))
    await desk.ask(run, item(), need=2, seen=3)
    await desk.ask(run, need=1, seen=-1)
    rows = [("n:a", "succeeded", b"1", b"{}", "job_9", 0), ("z:1", "pending", b"", b"", "", 9000)]
    assert frames(seat, "answer") == [("job_1", "1/n", 1, 4, False, 5000, rows), ("job_1", "1/n", 1, 4, True, 6000, [])]
    assert [call[3:] for call in desk.steps.calls] == [(3, 2, 0), (4, 1, 9000)], "it is woken for a sleep that it asked for before"
    assert run.parked and run.asking is not None and run.asking.timer is not None


async def test_where_something_else_has_ended_that_is_answered_too() -> None:
    pending, other = Result("n:b", "pending", id="job_8"), Result("n:a", "succeeded", b"1", b"", "job_9")
    desk, seat, run = desk_with(Answer(3, False, 5000, [pending]), Answer(4, False, 5001, [other]))
    await desk.ask(run, item("n:b"), seen=3)
    assert desk.steps.calls[1] == ("resume", "job_1", 3, False)
    assert [row[0] for row in frames(seat, "answer")[0][6]] == ["n:b", "n:a"]
    assert (frames(seat, "answer")[0][3], run.parked) == (4, False)


async def test_what_has_ended_is_sent_by_pieces_and_the_run_goes_on_with_the_last() -> None:
    ends = [Result(f"n:{key}", "succeeded", b"1", b"", f"job_{key}") for key in "abc"]
    pieces = [Answer(at + 1, False, 5000 + at, [each], more=at < 2) for at, each in enumerate(ends)]
    desk, seat, run = desk_with(Answer(0, True, 4999, [Result("n:a", "pending", id="job_a")]), *pieces)
    await desk.ask(run)
    desk.parking.wake(run)
    await desk.effects.settled()
    assert [call[2:] for call in desk.steps.calls[1:]] == [(0, True), (1, True), (2, True)]
    sent = [(n, seen, waits, [row[0] for row in rows]) for _, _, n, seen, waits, _, rows in frames(seat, "answer")[1:]]
    assert sent == [(0, 1, True, ["n:a"]), (0, 2, True, ["n:b"]), (0, 3, False, ["n:c"])]


async def test_s1_what_the_journal_answers_takes_one_trip() -> None:
    desk, _, run = desk_with(Answer(3, False, 5000, [Result("n:a", "succeeded", b"1")]))
    await desk.ask(run, item(), seen=3)
    assert [call[0] for call in desk.steps.calls] == ["ask"]


async def test_a_store_that_is_full_or_away_or_of_an_older_format_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_PAUSE", 0.0)
    monkeypatch.setattr(steps, "_SOON", 0.0)
    desk, seat, run = desk_with(StorageFull("full"), StoreUnavailable("away"), OldFormat("old"), StillStops("stops"))
    await desk.ask(run, item())
    assert [call[0] for call in desk.steps.calls] == ["ask"] * 5
    assert len(frames(seat, "answer")) == 1
    assert run.parked


async def test_a_request_is_given_up_when_the_run_is_to_stop_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_PAUSE", 0.0)
    desk, seat, run = desk_with(*[StoreUnavailable("away")] * 3)
    refused, ask = [], desk.steps.ask

    async def asked(*args: Any, **named: Any) -> Any:
        refused.append(1)
        if len(refused) == 3:
            desk.limits.request_stop(run, "canceled")
        return await ask(*args, **named)

    desk.steps.ask = asked  # type: ignore[method-assign]
    await desk.ask(run, item())
    assert (len(refused), frames(seat, "stale")) == (3, [("job_1", "1/n", 1)])


async def test_who_is_to_stop_while_the_store_says_that_it_waits_is_not_parked_and_its_outcome_is_taken() -> None:
    desk, seat, run = desk_with()
    ask = desk.steps.ask

    async def asked(*args: Any, **named: Any) -> Any:
        desk.limits.request_stop(run, "timeout")
        return await ask(*args, **named)

    desk.steps.ask = asked  # type: ignore[method-assign]
    await desk.ask(run, item())
    assert (frames(seat, "stale"), run.parked, run.waiting) == ([("job_1", "1/n", 1)], False, True)
    desk.settler.on_done(seat, [["job_1", "1/n", "partial", b"1", (0.2, 0.0, 0.1), None]])
    await desk.effects.settled()
    assert [call[0] for call in desk.steps.calls] == ["ask", "resume"]
    assert desk.claims.calls == [("succeeded", "job_1", b"1")]


@pytest.mark.parametrize("end", ["done", "waited", "dies"])
async def test_s28_what_a_job_has_journaled_last_is_written_before_it_ends_or_goes_back(end: str) -> None:
    desk, seat, run = desk_with()
    order: list[str] = []

    def noted(owner: Any, name: str) -> None:
        call = getattr(owner, name)

        async def noting(*args: Any, **named: Any) -> Any:
            if name == "journal":
                await asyncio.sleep(0.02)
            order.append(name)
            return await call(*args, **named)

        setattr(owner, name, noting)

    for owner, name in ((desk.steps, "journal"), (desk.steps, "drop"), (desk.steps, "let_go")):
        noted(owner, name)
    for name in ("finish_all", "hand_back"):
        noted(desk.claims, name)
    desk.requests.take(seat, "journal", "job_1", "1/n", [1, [["l:a", b"d m 1"]], []])
    desk.requests.take(seat, "drop", "job_1", "1/n", [["n:b"]])
    desk.requests.take(seat, "ask", "job_1", "1/n", [2, 0, 1, 0, []])
    if end == "dies":
        runs = seat.runs()
        seat.take_off("job_1", run.fence)
        desk.settler.on_runner_end(runs, set(), Exit(-11))
    else:
        desk.settler.on_done(seat, [["job_1", "1/n", "ok" if end == "done" else end, b"1", (0.2, 0.0, 0.1), None]])
    await asyncio.sleep(0)
    works, desk.effects.work = desk.effects.work, []
    await asyncio.gather(*works)
    last = {"done": "finish_all", "waited": "let_go", "dies": "hand_back"}[end]
    assert order == ["journal", "drop", last]
    assert (desk.tables.runs, frames(seat, "answer")) == ({}, [])


async def test_the_journal_is_written_in_pieces_and_says_what_counts() -> None:
    desk, seat, _ = desk_with()
    entries = [[f"l:{n}", f"d m {n}"] for n in range(150)]
    await send(desk, "journal", 7, entries, ["n:loser"])
    assert [(len(call[2]), call[3]) for call in desk.steps.calls] == [(100, ["n:loser"]), (50, [])]
    assert frames(seat, "kept") == [("job_1", "1/n", 7, [f"d m {n}".encode() for n in range(150)])]


async def test_each_other_request_has_its_answer() -> None:
    desk, seat, _ = desk_with(({"n:a": b"c job_9 0 1 m"}, ["n:a"]), None, [], None)
    await send(desk, "history", 1)
    await send(desk, "history", 2)
    await send(desk, "files", 3, ["file_1"])
    await send(desk, "files", 4, ["file_1"])
    await send(desk, "drop", ["n:a"])
    await send(desk, "unsignal", "ok")
    assert frames(seat, "history") == [("job_1", "1/n", 1, {"n:a": b"c job_9 0 1 m"}, ["n:a"])]
    assert frames(seat, "files") == [("job_1", "1/n", 3, b"{}")]
    assert [frame[2] for frame in frames(seat, "stale")] == [2, 4]
    assert desk.steps.calls[-2:] == [("drop", "job_1", ["n:a"]), ("forget_signal", "job_1", "ok")]


async def test_who_goes_on_by_itself_takes_its_slot_and_is_told_what_has_ended() -> None:
    desk, seat, run = desk_with()
    (lane,) = desk.tables.lanes.values()
    await desk.ask(run)
    started(desk.tables, "job_2")
    await send(desk, "awake")
    assert ([each.id for each in lane.aboard(seat)], lane.held, run.waits) == (["job_1", "job_2"], 2, 0.0)
    assert frames(seat, "answer")[-1][2] == 0
    await send(desk, "awake")
    assert [call[0] for call in desk.steps.calls] == ["ask", "resume"], "it had it already"


async def test_who_asks_while_it_waits_is_awake() -> None:
    desk, seat, run = desk_with()
    await desk.ask(run)
    await desk.ask(run, item(), need=0)
    assert [call[0] for call in desk.steps.calls] == ["ask", "resume", "ask"]
    assert (run.parked, run.waiting, run.waits) == (False, False, 0.0)
    assert [frame[2] for frame in frames(seat, "answer")] == [1, 0, 1]


async def test_a_wake_behind_another_question_does_not_take_a_run_that_waits_again_out_of_its_place() -> None:
    desk, seat, run = desk_with()
    await desk.ask(run)
    desk.requests.take(seat, "ask", run.id, run.fence, [2, 0, 1, 0, []])
    desk.parking.wake(run)
    await desk.effects.settled()
    assert (run.parked, run.waiting) == (run.waits > 0, run.waits > 0)
    assert [lane.held for lane in desk.tables.lanes.values()] == [int(not run.parked)]


async def test_an_answer_that_comes_when_the_runner_is_another_one_goes_nowhere() -> None:
    desk, seat, run = desk_with()
    ask = desk.steps.ask

    async def asked(*args: Any, **named: Any) -> Any:
        seat.take_off(run.id, run.fence)
        return await ask(*args, **named)

    desk.steps.ask = asked  # type: ignore[method-assign]
    desk.requests.take(seat, "ask", "job_1", "1/n", [1, 0, 1, 0, []])
    await desk.effects.settled()
    assert (frames(seat, "answer"), frames(seat, "stale"), run.parked) == ([], [], False)


async def test_who_runs_once_more_by_itself_begins_with_what_its_journal_has() -> None:
    desk, seat, run = desk_with()
    await desk.ask(run, item(), need=0)
    seat.take_off(run.id, run.fence)
    desk.tables.lane_of(run).run_alone(run)
    assert (run.asking, run.claim.flow) == (None, Flow(journal=True))


async def test_who_asks_has_begun_also_when_the_worker_does_not_know_it_yet() -> None:
    desk = Desk(tables_of(), Answer(0, True, 5000), models=[DRAW])
    (lane,) = desk.tables.lanes.values()
    lane.mean.add(0.01)
    lane.concurrency = 1
    _, ahead = started(desk.tables, "job_1", "job_2")
    assert ahead.started is None
    await desk.ask(ahead, item())
    assert ahead.parked and ahead.started is not None
    assert ahead.ran < 1, "its running time counts from then"
