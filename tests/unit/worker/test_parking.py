"""Runs that wait for steps: they hold no slot, go on when they are woken, and are let go when their place is needed."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.unit.worker.played import CHAT, ECHO, Desk, frames, started, tables_of, waiting

from longrun.errors import StorageFull, StoreUnavailable
from longrun.jobs.flow import Flow
from longrun.models import ModelSpec
from longrun.store.steps import Answer
from longrun.worker import parking
from longrun.worker.parking import whom_to_let_go
from longrun.worker.run import Run
from longrun.worker.supervise.exits import Exit
from longrun.worker.supervise.seat import Seat


def aboard(seat: Seat) -> list[str]:
    """Ids of those that hold a slot, in the order in which they were sent."""
    return [run.id for runs in seat.aboard.values() for run in runs.values()]


def waited(job_id: str) -> list[Any]:
    return [job_id, "1/n", "waited", b"", (0.2, 0.0, 0.1), None]


async def parked(desk: Desk, *job_ids: str, **policy: Any) -> tuple[Seat, list[Run]]:
    """Jobs that have begun, and wait for steps."""
    runs = started(desk.tables, *job_ids, **policy)
    for run in runs:
        await desk.ask(run)
    return desk.tables.seats[0], runs


async def test_s18_a_waiting_parent_holds_no_slot_and_goes_on_before_new_jobs_when_there_is_room() -> None:
    desk = Desk(tables_of(concurrency=1))
    (lane,) = desk.tables.lanes.values()
    seat, (parent,) = await parked(desk, "job_1")
    assert (lane.held, lane.free(), aboard(seat)) == (0, 1, [])
    child, _ = started(desk.tables, "job_2", "job_3")
    assert (aboard(seat), child.started is not None, lane.free()) == (["job_2"], True, 0)
    desk.parking.wake(parent)
    await desk.effects.settled()
    assert frames(seat, "answer")[1:] == [], "the child has the only slot"
    desk.settler.on_done(seat, [["job_2", "1/n", "ok", b"1", (0.2, 0.0, 0.1), None]])
    await desk.effects.settled()
    assert aboard(seat) == ["job_1"], "before the job that is new"
    assert frames(seat, "answer")[-1] == ("job_1", "1/n", 0, 0, False, 1000, [])
    assert (parent.waits, lane.held) == (0.0, 2)
    desk.settler.on_done(seat, [["job_1", "1/n", "ok", b"1", (0.2, 0.0, 0.1), None]])
    await desk.effects.settled()
    assert (aboard(seat), lane.held) == (["job_3"], 1)


async def test_s18_what_was_sent_ahead_ends_before_a_parent_goes_on_and_nothing_follows_it_meanwhile() -> None:
    desk = Desk(tables_of(concurrency=1))
    (lane,) = desk.tables.lanes.values()
    lane.mean.add(0.01)
    parent, first, second = started(desk.tables, "job_1", "job_2", "job_3")
    seat = desk.tables.seats[0]
    await desk.ask(parent)
    assert (aboard(seat), first.started is None, second.started is None) == (["job_2", "job_3"], False, True)
    assert lane.ahead() == 0, "who runs steps sends none ahead: trees would be opened before older ones have ended"
    desk.parking.wake(parent)
    waiting(desk.tables, "job_4", "job_5", "job_6", "job_7")
    lane.dispatch()
    for job_id in ("job_2", "job_3"):
        assert "job_4" not in aboard(seat)
        desk.settler.on_done(seat, [[job_id, "1/n", "ok", b"1", (0.01, 0.0, 0.01), None]])
    assert aboard(seat) == ["job_1"], "the store has not said yet that it runs: what is sent now would begin before it goes on"
    await desk.effects.settled()
    lane.dispatch()
    assert (aboard(seat), parent.waits) == (["job_1"], 0.0), "its code is in the middle: nothing is sent ahead"


async def test_a_parent_whose_wait_was_over_before_it_was_parked_goes_on_at_once() -> None:
    desk = Desk(tables_of())
    seat, (parent,) = desk.tables.seats[0], started(desk.tables, "job_1")
    answering = desk.steps.ask

    async def ask(*args: Any, **named: Any) -> Any:
        desk.parking.wake(parent)  # pushed over another connection, it overtakes the answer
        return await answering(*args, **named)

    desk.steps.ask = ask  # type: ignore[method-assign]
    await desk.ask(parent)
    await desk.effects.settled()
    assert (parent.waits, aboard(seat), parent.waiting) == (0.0, ["job_1"], False)
    assert [frame[4] for frame in frames(seat, "answer")] == [True, False]


async def test_the_time_of_a_sleep_wakes_its_parent() -> None:
    desk = Desk(tables_of(), Answer(0, True, 1000))
    (parent,) = started(desk.tables, "job_1")
    seat = await desk.ask(parent, until=1030)
    assert parent.asking is not None and parent.asking.timer is not None
    timer = parent.asking.timer
    assert timer.when() - timer._loop.time() <= 0.032  # type: ignore[attr-defined]
    timer._run()
    await desk.effects.settled()
    assert (parent.waits, parent.asking.timer, aboard(seat)) == (0.0, None, ["job_1"])


async def test_a_wake_is_tried_again_while_the_store_is_away_or_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longrun.worker.steps._PAUSE", 0.0)
    desk = Desk(tables_of())
    seat, (parent,) = await parked(desk, "job_1")
    desk.steps.answers = [StoreUnavailable("away"), StorageFull("full"), Answer(3, False, 1000)]
    desk.parking.wake(parent)
    await desk.effects.settled()
    assert [call[0] for call in desk.steps.calls] == ["ask", "resume", "resume", "resume"]
    assert frames(seat, "answer")[-1][2:4] == (0, 3)


# -- S16, S17: its runner ends ------------------------------------------------------------------------------------------------


async def test_s16_a_waiting_parent_is_not_charged_when_its_runner_dies_and_makes_nobody_a_suspect() -> None:
    desk = Desk(tables_of(concurrency=2))
    seat, (parent, culprit) = desk.tables.seats[0], started(desk.tables, "job_1", "job_2")
    await desk.ask(parent)
    runs = seat.runs()
    desk.parking.has_ended(seat, runs)
    desk.settler.on_runner_end(runs, set(), Exit(-11))
    await desk.effects.settled()
    assert [call[:3] for call in desk.claims.calls] == [("queued", "job_2", "crash")]
    assert desk.steps.calls[1:] == [("let_go", ("job_1", int(parent.ran * 1000), b""))]
    assert [lane.held for lane in desk.tables.lanes.values()] == [0]
    assert culprit.settled and desk.tables.runs == {}


async def test_s16_a_parent_that_goes_on_is_charged_as_anybody_and_one_that_waits_for_its_slot_is_not() -> None:
    desk = Desk(tables_of(concurrency=1))
    seat, (parent,) = await parked(desk, "job_1")
    started(desk.tables, "job_2")
    desk.parking.wake(parent)
    (lane,) = desk.tables.lanes.values()
    runs = seat.runs()
    desk.parking.has_ended(seat, runs)
    desk.settler.on_runner_end(runs, set(), Exit(-11))
    await desk.effects.settled()
    assert [call[:3] for call in desk.claims.calls] == [("queued", "job_2", "crash")]
    assert [call[0] for call in desk.steps.calls] == ["ask", "let_go"]
    assert (lane.held, lane.resuming) == (0, {})
    desk = Desk(tables_of(concurrency=1))
    seat, (parent,) = await parked(desk, "job_1")
    desk.parking.wake(parent)
    await desk.effects.settled()
    desk.settler.on_runner_end(seat.runs(), set(), Exit(-11))
    await desk.effects.settled()
    assert [call[:3] for call in desk.claims.calls] == [("queued", "job_1", "crash")]


async def test_s16_a_waiting_suspect_gives_up_the_runner_that_it_had_to_itself() -> None:
    desk = Desk(tables_of())
    (seat,) = desk.tables.seats
    seat.keep_for("crash-0.1", 1.0)
    (suspect,) = started(desk.tables, "job_1")
    waiting(desk.tables, "job_2", suspect="crash-0.1")
    assert aboard(seat) == []
    (run,) = [each for each in desk.tables.runs.values() if each is not suspect]
    desk.tables.lanes[run.lane].dispatch()
    await desk.ask(run)
    assert frames(seat, "let_go") == [([("job_2", "1/n")],)]
    desk.settler.on_done(seat, [waited("job_2")])
    await desk.effects.settled()
    assert [call[0] for call in desk.steps.calls] == ["ask", "let_go"]
    assert seat.empty


async def test_s29_who_must_not_run_twice_ends_when_its_runner_dies_while_it_waits() -> None:
    desk = Desk(tables_of())
    seat, _ = await parked(desk, "job_1", delivery="at_most_once")
    runs = seat.runs()
    desk.parking.has_ended(seat, runs)
    desk.settler.on_runner_end(runs, set(), Exit(-11))
    await desk.effects.settled()
    assert desk.claims.calls == [("queued", "job_1", "release", "")], "which ends one that has begun as outcome-unknown"


async def test_what_waits_still_when_the_worker_ends_sleeps_and_what_runs_goes_back() -> None:
    desk = Desk(tables_of(concurrency=2))
    parent, _ = started(desk.tables, "job_1", "job_2")
    await desk.ask(parent)
    await desk.settler.hand_all_back()
    assert desk.claims.calls == [("queued", "job_2", "release", "")]
    assert [call[:2] for call in desk.steps.calls[1:]] == [("let_go", ("job_1", int(parent.ran * 1000), b""))]


# -- S13, S19: it is stopped --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "outcome"), [("canceled", "canceled"), ("timeout", "failed")])
async def test_s13_s19_who_waits_and_is_to_stop_goes_on_at_once_and_the_store_hears_that_first(reason: Any, outcome: str) -> None:
    desk = Desk(tables_of(concurrency=1))
    seat, (parent,) = await parked(desk, "job_1")
    started(desk.tables, "job_2")
    desk.limits.request_stop(parent, reason)
    assert frames(seat, "cancel") == [([("job_1", "1/n")], reason, False)]
    assert (aboard(seat), parent.waits, parent.waiting) == (["job_1", "job_2"], 0.0, True)
    desk.settler.on_done(seat, [["job_1", "1/n", "canceled", b"", (0.2, 0.0, 0.1), "flag"]])
    await desk.effects.settled()
    assert [call[0] for call in desk.steps.calls] == ["ask", "resume"]
    assert [call[:2] for call in desk.claims.calls] == [(outcome, "job_1")]
    assert [lane.held for lane in desk.tables.lanes.values()] == [1]


async def test_s19_running_time_stands_still_while_it_waits_and_the_total_does_not() -> None:
    (run,) = started(tables_of(), "job_1", timeout=10, soft_timeout=8, total_timeout=60)
    run.since = 100.0
    run.begin(100.0)
    run.wait(103.0)
    assert (run.ran, run.deadline, run.limit) == (3.0, 160.0, "total_timeout of 60 s")
    run.go_on(150.0)
    assert (run.deadline, run.hard, run.limit) == (155.0, 157.0, "soft_timeout of 8 s")
    run.wait(152.0)
    run.go_on(158.0)
    assert (run.deadline, run.hard, run.limit) == (160.0, 160.0, "total_timeout of 60 s")


async def test_s19_without_a_total_nothing_ends_a_wait_and_what_it_ran_before_it_was_let_go_counts() -> None:
    (run,) = started(tables_of(), "job_1", timeout=10, flow=Flow(ran_ms=4000))
    run.begin(100.0)
    assert run.deadline == 106.0
    run.wait(101.0)
    assert (run.deadline, run.ran) == (None, 5.0)
    run.go_on(1000.0)
    assert run.deadline == 1005.0


async def test_s19_a_resident_parent_gets_its_time_limit_while_it_waits() -> None:
    desk = Desk(tables_of())
    seat, _ = await parked(desk, "job_1", total_timeout=60)
    desk.limits.look(time.monotonic() + 61)
    assert frames(seat, "cancel") == [([("job_1", "1/n")], "timeout", False)]
    desk.settler.on_done(seat, [["job_1", "1/n", "partial", b'"so far"', (0.2, 0.0, 0.1), None]])
    await desk.effects.settled()
    assert desk.claims.calls == [("succeeded", "job_1", b'"so far"')]
    assert [call[0] for call in desk.steps.calls] == ["ask", "resume"]


async def test_a_waiting_neighbour_does_not_keep_a_runner_that_is_to_be_killed_unless_it_must_not_run_twice() -> None:
    for delivery, killed in (("at_least_once", True), ("at_most_once", False)):
        desk = Desk(tables_of(concurrency=2))
        parent, hanging = started(desk.tables, "job_1", "job_2", delivery=delivery)
        seat = await desk.ask(parent)
        desk.limits.request_stop(hanging, "canceled")
        seat.pong_at = time.monotonic() + 5
        desk.limits.look(seat.pong_at)
        assert (seat.doomed == {hanging}) is killed
        await desk.effects.settled()


async def test_who_waits_is_no_company_for_those_that_run() -> None:
    desk = Desk(tables_of(concurrency=2))
    parent, other = started(desk.tables, "job_1", "job_2")
    (seat,) = desk.tables.seats
    assert seat.had_company(other.id, other.fence)
    await desk.ask(parent)
    assert not seat.had_company(other.id, other.fence)
    assert desk.tables.busy
    await desk.ask(other)
    assert not desk.tables.busy


# -- it is let go -------------------------------------------------------------------------------------------------------------


async def test_who_is_let_go_unwinds_and_sleeps_with_the_time_that_it_ran_and_what_it_used() -> None:
    desk = Desk(tables_of(concurrency=3))
    seat, runs = await parked(desk, "job_1", "job_2", "job_3")
    desk.steps.answers = [["asleep", "queued", None]]
    desk.tables.closing = True
    desk.parking.look_at(seat, time.monotonic())
    assert frames(seat, "let_go") == [([(run.id, "1/n") for run in runs],)]
    for run in runs:
        desk.parking.wake(run)
        run.ran = 1.5
    assert list(seat.leaving.values()) == runs, "who is to unwind is not woken"
    desk.settler.on_done(seat, [waited(run.id) for run in runs])
    await desk.effects.settled()
    ((_, *left),) = desk.steps.calls[3:]
    assert [(job_id, ran) for job_id, ran, _ in left] == [(run.id, 1500) for run in runs]
    assert {used.partition(b',"steps_s":')[0] for *_, used in left} == {b'{"run_s":0.1,"wait_s":0.0'}
    assert [args[1] for args in desk.effects.named("post")] == ["asleep", "queued", "stale"]
    assert (desk.tables.runs, [lane.held for lane in desk.tables.lanes.values()], seat.empty) == ({}, [0], True)


async def test_who_was_woken_and_finds_no_room_here_is_let_go_for_another_worker_may_have_some() -> None:
    desk = Desk(tables_of(concurrency=1))
    (lane,) = desk.tables.lanes.values()
    seat, (run,) = await parked(desk, "job_1")
    started(desk.tables, "job_2")
    desk.parking.wake(run)
    now = time.monotonic()
    desk.parking.look_at(seat, now + parking.NO_ROOM - 1)
    assert frames(seat, "let_go") == []
    desk.parking.look_at(seat, now + parking.NO_ROOM + 1)
    assert frames(seat, "let_go") == [([("job_1", "1/n")],)]
    assert (lane.resuming, lane.held, aboard(seat)) == ({}, 1, ["job_2"])
    desk.settler.on_done(seat, [waited("job_1")])
    await desk.effects.settled()
    assert (desk.steps.calls[-1][0], lane.held) == ("let_go", 1)


async def test_who_is_let_go_waits_for_a_full_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longrun.worker.settle._FULL_PAUSE", 0.0)
    desk = Desk(tables_of())
    seat, _ = await parked(desk, "job_1")
    desk.steps.answers = [StorageFull("full")]
    desk.settler.on_done(seat, [waited("job_1")])
    await desk.effects.settled()
    assert [call[0] for call in desk.steps.calls] == ["ask", "let_go", "let_go"]
    assert desk.tables.runs == {}


async def test_what_does_not_unwind_in_time_is_stopped_and_handed_back() -> None:
    desk = Desk(tables_of())
    seat, (run,) = await parked(desk, "job_1")
    desk.tables.closing = True
    now = time.monotonic()
    desk.parking.look_at(seat, now)
    desk.parking._give_up_late(seat, now + 0.9)
    assert not run.settled
    desk.parking._give_up_late(seat, now + 1.1)
    await desk.effects.settled()
    assert [call[0] for call in desk.steps.calls] == ["ask", "let_go"]
    assert frames(seat, "cancel") == [([("job_1", "1/n")], "canceled", False)]
    desk.settler.on_done(seat, [waited("job_1")])
    await desk.effects.settled()
    assert [call[0] for call in desk.steps.calls] == ["ask", "let_go"]
    assert [lane.held for lane in desk.tables.lanes.values()] == [0]


async def test_an_order_to_stop_overtakes_one_to_unwind() -> None:
    desk = Desk(tables_of())
    seat, (run,) = await parked(desk, "job_1")
    desk.tables.closing = True
    desk.parking.look_at(seat, time.monotonic())
    desk.limits.request_stop(run, "canceled")
    assert (seat.leaving, aboard(seat)) == ({}, ["job_1"])
    desk.settler.on_done(seat, [waited("job_1")])
    await desk.effects.settled()
    assert [call[0] for call in desk.steps.calls] == ["ask", "resume"]
    assert [call[:2] for call in desk.claims.calls] == [("canceled", "job_1")]


async def test_who_rehearses_lets_every_parent_go_at_every_wait() -> None:
    desk = Desk(tables_of(concurrency=2), rehearse=True)
    seat, _ = await parked(desk, "job_1", "job_2")
    assert frames(seat, "let_go") == [([("job_1", "1/n")],), ([("job_2", "1/n")],)]


async def test_s29_who_must_not_run_twice_is_never_let_go_and_is_woken_in_a_worker_that_stops() -> None:
    desk = Desk(tables_of(), rehearse=True)
    seat, (run,) = await parked(desk, "job_1", delivery="at_most_once")
    desk.tables.closing, seat.role = True, "retiring"
    desk.parking.look_at(seat, time.monotonic() + 10_000)
    assert frames(seat, "let_go") == []
    desk.parking.wake(run)
    await desk.effects.settled()
    assert (aboard(seat), run.waits) == (["job_1"], 0.0)


@pytest.mark.parametrize(
    ("spec", "most", "why", "gone"),
    [
        (ECHO, 3, {}, 0),
        (ECHO, 3, {"later": parking.LONGEST + 1}, 3),
        (ECHO, 3, {"closing": True}, 3),
        (ECHO, 3, {"role": "retiring"}, 3),
        (ECHO, 3, {"reserved": "crash-0.1"}, 3),
        (ECHO, parking.MOST_SYNC, {}, 0),
        (ECHO, parking.MOST_SYNC + 2, {}, 2),
        (CHAT, parking.MOST_SYNC + 2, {}, 0),
        (CHAT, parking.MOST_ASYNC + 1, {}, 1),
    ],
)
def test_those_go_whose_place_is_needed_the_longest_first(spec: ModelSpec, most: int, why: dict[str, Any], gone: int) -> None:
    tables = tables_of(spec, concurrency=most)
    (seat,), runs = tables.seats, started(tables, *[f"job_{n}" for n in range(most)])
    for run in runs:
        run.wait(100.0)
        run.parked = True
        seat.park(run)
    seat.role, seat.reserved = why.get("role", "serving"), why.get("reserved")
    now, closing = 100.0 + why.get("later", 0), "closing" in why
    assert list(whom_to_let_go(seat, tables.lanes, now, all_of_them=closing)) == runs[:gone]
    for run in runs[1:]:
        run.parked = False  # they are to go on, and wait for room
    all_of_them = closing or seat.role == "retiring" or seat.reserved is not None
    assert list(whom_to_let_go(seat, tables.lanes, now, all_of_them=closing)) == (runs if all_of_them else runs[: min(1, gone)])
