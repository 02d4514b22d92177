"""The state of a run: what it sends and waits for, what it gives up, and how it is stopped."""

from __future__ import annotations

from typing import Any

import pytest

from longrun.errors import LetGo
from longrun.models.steps.awaits import Await, Step, Want
from longrun.models.steps.flow import Flow
from longrun.models.steps.journal import History, read_entry
from longrun.models.steps.start import Start


def flow(fields: dict[str, bytes] | None = None, ends: tuple[str, ...] = (), code: str = "c0") -> Flow:
    return Flow(Start("job_p", code=code), History.of(fields or {}, ends))


def draw(flow: Flow, name: str, **options: Any) -> Step:
    want = Want("run", "draw", options.get("key", ""), f"digest{name}", flow.main.place("draw"))
    return Step(want, ("run", "draw", name.encode(), [], {}))


def asks(flow: Flow, *, idle: bool = True, **options: Any) -> list[Any]:
    return [frame for frame in flow.turn(idle=idle, **options) if frame[0] == "ask"]


def answer(flow: Flow, n: int, *rows: tuple[str, str], waits: bool = False, seen: int = 0) -> None:
    flow.feed("answer", n, seen, waits, 0, [[key, state, b"1", b"", "job", 0] for key, state in rows])


def test_calls_of_one_turn_leave_in_one_frame_and_the_last_says_how_many_it_waits_for() -> None:
    run = flow()
    waiting = run.begin([draw(run, "a"), draw(run, "b"), draw(run, "c")])
    other = run.begin([draw(run, "d"), draw(run, "e")])
    ((_, n, seen, need, until, calls),) = asks(run)
    assert (seen, need, until, len(calls)) == (-1, 2, 0, 5)
    assert asks(run) == [], "one at a time"
    answer(run, n, *((call[0], "pending") for call in calls), waits=True, seen=3)
    assert run.parked
    assert asks(run) == [], "it waits already"
    answer(run, 0, (calls[3][0], "succeeded"), waits=True, seen=4)
    assert run.parked and asks(run) == [], "the rest of this wake-up is to come"
    answer(run, 0, (calls[4][0], "succeeded"), seen=5)
    assert not run.parked
    assert run.turn(idle=True) == []
    assert other.done
    assert run.woke
    ((_, _, seen, need, _, calls),) = asks(run)
    assert (seen, need, calls) == (5, 3, [])
    assert not waiting.done


def test_who_waits_until_an_entry_is_written_waits_for_no_step_that_ends() -> None:
    run = flow()
    step, call = run.local(Want("local", "local", "pay", "", ""))
    assert call
    written = run.record(step, b"1")
    frames = run.turn(idle=True)
    assert [frame[0] for frame in frames] == ["journal"], "nothing would wake it"
    other = run.begin([draw(run, "a")])
    ((_, n, _, need, _, calls),) = asks(run)
    assert (need, len(calls)) == (0, 1)
    run.feed("kept", frames[0][1], [b"d 0 0 c0~~ 1"])
    assert run.turn(idle=True) == [] and written.done
    answer(run, n, (calls[0][0], "pending"))
    ((_, _, _, need, _, calls),) = asks(run)
    assert (need, calls, other.done) == (1, [], False)


def test_two_calls_of_one_name_are_one_step_that_ends_once() -> None:
    run = flow()
    waiting = run.begin([draw(run, "a", key="k"), draw(run, "a", key="k"), draw(run, "b")])
    ((_, n, _, need, _, calls),) = asks(run)
    assert ([call[0] for call in calls], need) == (["n:k", "draw:digestb:0"], 2)
    answer(run, n, ("n:k", "pending"), ("draw:digestb:0", "pending"), waits=True)
    answer(run, 0, ("n:k", "succeeded"), seen=1)
    assert asks(run)[0][3] == 1 and not waiting.done
    answer(run, 0, ("draw:digestb:0", "succeeded"), seen=2)
    run.turn(idle=True)
    assert waiting.done and [step.outcome and step.outcome.state for step in waiting.steps] == ["succeeded"] * 3


def test_what_computes_is_not_waited_for_but_its_steps_begin() -> None:
    run = flow()
    run.begin([draw(run, "a")])
    ((*_, need, _, calls),) = asks(run, idle=False)
    assert (need, len(calls)) == (0, 1)


def test_a_run_that_waits_until_its_entry_is_kept_does_not_say_that_it_waits() -> None:
    """It goes on by itself in a moment, and would be parked and waked for nothing."""
    run = flow()
    run.begin([draw(run, "a")])
    ((_, n, *_, calls),) = asks(run, idle=False)
    answer(run, n, (calls[0][0], "pending"))
    step, mine = run.local(Want("local", "f", "name", "", ":name.0"))
    assert mine
    kept = run.record(step, b"1")
    ((kind, n, entries, stop),) = run.turn(idle=True)
    assert (kind, entries, stop) == ("journal", [["l:name", b"d c0~:name.0~ 1"]], [])
    assert run.turn(idle=True) == []
    run.feed("kept", n, [b"d 0 1 c0~:name.0~ 1"])
    assert kept.done
    assert asks(run), "now it does"


def test_a_step_whose_await_is_canceled_is_stopped_unless_another_waits_for_it() -> None:
    run = flow()
    one, two = run.begin([draw(run, "a", key="a"), draw(run, "b")]), run.begin([draw(run, "a", key="a")])
    ((_, n, *_, calls),) = asks(run)
    answer(run, n, *((call[0], "pending") for call in calls))
    run.abandon(one)
    assert [frame for frame in run.turn(idle=False) if frame[0] == "drop"] == [("drop", [calls[1][0]])]
    run.abandon(two, drop=False)
    assert run.turn(idle=False) == []
    third = run.begin([draw(run, "c")])
    run.abandon(third)
    assert asks(run, idle=False) == [], "it was never made"


def test_at_a_replay_the_await_of_a_canceled_step_stays_pending_in_the_same_code() -> None:
    journal = {"draw:digesta:0": b"c job_1 0 1 c0~:draw.0~digesta", "x:draw:digesta:0": b"1"}
    for code, asked in (("c0", 0), ("c1", 1)):
        run = flow(journal, ("draw:digesta:0",), code)
        waiting = run.begin([draw(run, "a")])
        assert sum(len(frame[5]) for frame in asks(run)) == asked
        assert not waiting.done


def test_a_replay_waits_for_other_branches_until_it_has_waited_long_enough() -> None:
    journal = {f"draw:digest{name}:0": b"c job 0 1 c0~:draw.%d~digest%s" % (n, name.encode()) for n, name in enumerate("ab")}
    run = flow(journal, ("draw:digestb:0", "draw:digesta:0"))
    known, new = draw(run, "a"), draw(run, "new")
    first = run.begin([new])
    assert asks(run, idle=False) == [], "it may be that of another branch, or one of its own"
    second = run.begin([known])
    ((_, n, *_, calls),) = asks(run, idle=False)
    assert [call[0] for call in calls] == ["draw:digesta:0"]
    answer(run, n, ("draw:digesta:0", "succeeded"))
    run.turn(idle=False)
    assert not second.done, "the other ended before it, and may be asked for yet"
    ((_, n, *_, calls),) = asks(run, idle=False, hold=False)
    assert [call[0] for call in calls] == ["draw:digestb:0"], "by its place"
    answer(run, n, ("draw:digestb:0", "succeeded"))
    run.turn(idle=False)
    assert (first.done, second.done) == (True, False)
    run.turn(idle=False)
    assert second.done


def test_what_is_new_is_not_held_up_by_steps_that_the_code_asks_for_no_more() -> None:
    """A branch that always works on something of its own would delay each step of the others."""
    run = flow({"draw:digesta:0": b"c job 0 1 c1~:draw.0~digesta"}, ("draw:digesta:0",))
    run.begin([draw(run, "new")])
    assert asks(run, idle=False) == []
    ((_, n, *_, calls),) = asks(run, idle=False, hold=False)
    answer(run, n, (calls[0][0], "pending"))
    later = run.begin([draw(run, "later")])
    ((_, n, *_, calls),) = asks(run, idle=False)
    answer(run, n, (calls[0][0], "succeeded"))
    run.turn(idle=False)
    assert later.done


def test_when_it_is_let_go_all_that_waits_and_asks_raises_and_nothing_is_sent() -> None:
    run = flow()
    waiting = run.begin([draw(run, "a")])
    called: list[Await] = []
    waiting.on_done = lambda: called.append(waiting)
    run.stop(LetGo)
    assert called == [waiting]
    for again in (
        waiting.check,
        run.check,
        run.now,
        lambda: run.begin([draw(run, "b")]),
        lambda: run.local(Want("local", "f", "n", "", ":n.0")),
    ):
        with pytest.raises(LetGo):
            again()
    assert run.turn(idle=True) == []


def test_a_stop_that_is_not_for_good_leaves_the_run_its_steps() -> None:
    run = flow()
    waiting = run.begin([draw(run, "a")])
    run.stop(LetGo, for_good=False)
    with pytest.raises(LetGo):
        waiting.check()
    run.begin([draw(run, "b")])
    assert asks(run)


@pytest.mark.parametrize(
    "value", [b"", b"1", b"!", b"c", b"c job", b"c job x 1 m", b"d 0", b"d 0 1", b"t x", b"\xff\xff", b'{"a":1}', b"q 1 2 3"]
)
def test_what_is_no_entry_is_passed_over(value: bytes) -> None:
    assert read_entry(value) is None
    flow({"draw:a:0": value, "l:x": value, "now:a": value})
