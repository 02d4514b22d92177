"""S31 and S32: who is first, and steps that are given up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.steps.conftest import BOTH, Service, Steps

APP = Path(__file__).with_name("models_that_race.py")
WORKERS = [("--queues", "work,flow")]
FLOW = ("--queues", "flow")


async def children(steps: Steps, job_id: str) -> dict[str, str]:
    """Ids of the steps `slow`, by what they are given."""
    nodes = [each["id"] for each in await steps.tree(job_id) if each["model"] == "slow"]
    return {json.loads(await steps.field(each, "input") or "")["name"]: each for each in nodes}


async def statuses(steps: Steps, job_id: str) -> dict[str, str]:
    """Of the steps `slow`, as soon as they have ended."""
    return {name: (await steps.until(each))["status"] for name, each in (await children(steps, job_id)).items()}


# -- S31 ----------------------------------------------------------------------------------------------------------------------


@BOTH
async def test_s31_the_winner_is_journaled_and_the_losers_are_canceled(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"takes_first{kind}", 1)
    for name in "abc":
        await steps.called(name)
    steps.open("b")
    await steps.called("after")
    winner = next(each for each in await steps.tree(job_id) if each["status"] == "succeeded")
    (entry,) = [value for key, value in (await steps.journal(job_id)).items() if key.startswith("first:")]
    assert winner["key"] in entry
    assert await statuses(steps, job_id) == {"a": "canceled", "b": "succeeded", "c": "canceled"}
    steps.open("after")
    assert await steps.output(job_id) == ["b done", "after done"]
    await steps.called("a-stopped")
    await steps.called("c-stopped")


@BOTH
async def test_s31_when_all_fail_the_first_in_the_order_of_the_arguments_is_raised(steps: Steps, kind: str) -> None:
    assert await steps.output(await steps.submit(f"none_is_first{kind}")) == "n:x"


async def end_while_it_sleeps(mine: Steps, flow: Any, job_id: str, begun: str, order: str) -> None:
    """Once these steps have begun, the flow's worker stops; then they end in this order."""
    for name in begun:
        await mine.called(name)
    await mine.until(job_id, "waiting")
    assert flow.stop() == 0
    ids = await children(mine, job_id)
    for name in order:
        mine.open(name)
        await mine.until(ids[name])


@pytest.mark.slow
@BOTH
async def test_s31_who_has_won_has_won_at_each_replay(own: Service, mine: Steps, kind: str) -> None:
    """Two have succeeded before the parent hears of any."""
    own.start("--queues", "work")
    flow = own.start(*FLOW)
    job_id = await mine.submit(f"takes_first{kind}")
    await end_while_it_sleeps(mine, flow, job_id, "abc", "ba")
    own.start(*FLOW)
    await mine.called("after")
    own.restart(*FLOW)
    mine.open("after")
    assert await mine.output(job_id) == ["b done", "after done"]
    assert mine.calls == {"flow": 3, "a": 1, "b": 1, "c": 1, "won-b": 2, "c-stopped": 1, "after": 1}


@pytest.mark.slow
async def test_s31_plain_asyncio_sees_steps_end_in_the_order_in_which_they_ended(own: Service, mine: Steps) -> None:
    own.start("--queues", "work")
    flow = own.start(*FLOW)
    job_id = await mine.submit("in_order", input={"to": str(mine.to)})
    await end_while_it_sleeps(mine, flow, job_id, "abc", "cab")
    flow = own.start(*FLOW)
    await end_while_it_sleeps(mine, flow, job_id, "def", "fde")
    own.start(*FLOW)
    await mine.called("after")
    own.restart(*FLOW)
    mine.open("after")
    seen, again, _ = await mine.output(job_id)
    assert seen[:2] == ["c", "then-c done"]
    assert again == ["f done", "d done", "e done"]
    assert "".join(seen[2:]) == "ab"
    assert {name for name in mine.calls if name.startswith(("first-", "then-"))} == {"first-c", "then-c"}
    assert all(times == 1 for name, times in mine.calls.items() if name not in ("flow", "first-c"))


# -- S32 ----------------------------------------------------------------------------------------------------------------------

WAYS = {
    "timeout": ["TimeoutError"],
    "gather": ["TimeoutError"],
    "wait_for": ["TimeoutError"],
    "group": ["model-error"],
    "task": ["CancelledError"],
    "option": ["timeout"],
}


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
async def test_s32_a_step_that_is_given_up_is_stopped_and_so_it_is_at_replay(own: Service, mine: Steps, how: str) -> None:
    own.start("--queues", "work")
    own.start(*FLOW)
    job_id = await mine.submit("gives_up", input={"to": str(mine.to), "how": how})
    await mine.called("after")
    child = [each for each in await mine.tree(job_id) if each["model"] == "slow"]
    for each in child:
        assert (await mine.until(each["id"]))["status"] == ("failed" if how == "option" else "canceled")
    own.restart(*FLOW)
    mine.open("after")
    assert await mine.output(job_id) == [*WAYS[how], "after done"]
    assert mine.calls["flow"] == mine.calls["gave-up"] == 2
    assert mine.calls["a"] <= 1 and mine.calls["x"] <= 1 and mine.calls["after"] == 1
    assert len([each for each in await mine.tree(job_id) if each["model"] == "slow"]) == len(child)


@pytest.mark.slow
async def test_s32_the_option_timeout_holds_in_plain_code_too(own: Service, mine: Steps) -> None:
    own.start("--queues", "work")
    own.start(*FLOW)
    job_id = await mine.submit("gives_up_sync", input={"to": str(mine.to), "how": "option"})
    await mine.called("after")
    own.restart(*FLOW)
    mine.open("after")
    assert await mine.output(job_id) == ["timeout", "after done"]
    assert mine.calls["a"] <= 1 and mine.calls["after"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", ["timeout", "group", "gather"])
async def test_s32_a_job_that_is_let_go_keeps_its_steps(own: Service, mine: Steps, how: str) -> None:
    own.start("--queues", "work")
    flow = own.start(*FLOW)
    job_id = await mine.submit("patient", input={"to": str(mine.to), "how": how})
    await mine.called("a")
    if how != "timeout":
        await mine.called("b")
        await mine.until(job_id, "waiting")
    assert flow.stop() == 0
    nodes = await mine.tree(job_id)
    assert {each["status"] for each in nodes} == {"running"}
    mine.open("a")
    mine.open("b")
    own.start(*FLOW)
    assert await mine.output(job_id) == (["a done"] if how == "timeout" else ["a done", "b done"])
    assert mine.calls["a"] == 1 and mine.calls["b"] <= 1
    assert {each["status"] for each in await mine.tree(job_id)} == {"succeeded"}
