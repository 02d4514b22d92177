"""S13 to S18: parents that end, are stopped, or lose their runner or worker while their steps are open."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.steps.conftest import BOTH, Service, Steps

from longrun.jobs.fence import fence_of
from longrun.jobs.policy import Policy
from longrun.store.steps import Child, Terms

APP = Path(__file__).with_name("models_that_end_with_steps_open.py")
FLOWS = pytest.mark.parametrize("flow", ["waits", "waits_sync"], ids=["async", "plain"])


async def tree_of(steps: Steps, job_id: str) -> dict[str, dict[str, Any]]:
    """All jobs below a job, by key."""
    found = dict[str, dict[str, Any]]()
    for step in await steps.tree(job_id):
        if step["id"] is not None:
            found[f"{step['key']} {step['id'][-5:]}"] = step
            found |= await tree_of(steps, step["id"])
    return found


@BOTH
async def test_s13_a_cancel_stops_all_below_at_any_depth_and_nothing_is_submitted_after_it(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"nested{kind}", 2)
    for name in ("runs0", "runs1", "runs2", "stubborn"):
        await steps.called(name)
    before = await tree_of(steps, job_id)
    assert len(before) == 9
    assert (await steps.post(job_id, "cancel")).is_success
    assert (await steps.until(job_id))["status"] == "canceled"
    stubborn = next(step for key, step in before.items() if key.startswith("stubborn"))
    assert not (await steps.job(stubborn["id"]))["terminal"], "its parent does not wait for it"
    for step in before.values():
        assert (await steps.until(step["id"]))["status"] == "canceled"
    after = await tree_of(steps, job_id)
    assert after.keys() == before.keys() and "after" not in steps.calls


@pytest.mark.parametrize(
    ("how", "status"), [("", "succeeded"), ("raise", "failed"), pytest.param("timeout", "failed", marks=pytest.mark.slow)]
)
async def test_s14_whatever_its_end_nothing_runs_that_nobody_can_join(steps: Steps, how: str, status: str) -> None:
    policy = {"timeout": 1} if how == "timeout" else {}
    job_id = await steps.submit("leaves_open", input={"to": str(steps.to), "how": how}, policy=policy)
    for name in ("open", "runs0", "stubborn", "first"):
        await steps.called(name)
    below = await tree_of(steps, job_id)
    steps.open("end")
    assert (await steps.until(job_id))["status"] == status
    statuses = {(await steps.until(step["id"]))["status"] for key, step in below.items() if step["status"] != "succeeded"}
    assert statuses == {"canceled"} and len(below) == 6


@BOTH
async def test_s14_a_detached_job_is_a_root_with_a_derived_id_and_lives_on(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"detaches{kind}")
    await steps.called("detached")
    await steps.called("begun")
    await steps.kill("flow")
    await steps.called("begun", 2)
    steps.open("end")
    (child,) = await steps.output(job_id)
    assert steps.calls[child] == 2, "the same id in both attempts"
    job = await steps.job(child)
    assert (job["status"], job["parent"], job["root"]) == ("running", None, None)
    steps.open("detached")
    assert (await steps.until(child))["status"] == "succeeded"
    assert steps.calls["detached"] == 1


@pytest.mark.slow
@BOTH
async def test_s15_a_child_that_ends_while_its_parent_is_let_go_queues_it(own: Service, mine: Steps, kind: str) -> None:
    own.start("--rehearse")
    jobs = [await mine.submit(f"quick{kind}", 12) for _ in range(25)]
    assert [await mine.output(job_id) for job_id in jobs] == [66] * 25
    outcomes = [outcome for job_id in jobs for outcome in await mine.outcomes(job_id)]
    assert set(outcomes) <= {"waited", "succeeded"} and "waited" in outcomes


@FLOWS
async def test_s16_a_runner_that_dies_while_a_parent_waits_charges_it_nothing(steps: Steps, flow: str) -> None:
    job_id = await steps.submit(flow, policy={"max_attempts": 1})
    await steps.called("child")
    await steps.until(job_id, "waiting")
    await steps.kill("flow")
    await steps.asleep(job_id)
    steps.open("child")
    assert await steps.output(job_id) == "child done"
    assert (steps.calls["child"], await steps.field(job_id, "crashes")) == (1, None)
    assert "crashed" not in await steps.outcomes(job_id)


@pytest.mark.slow
@pytest.mark.parametrize("lease", [2])
@FLOWS
async def test_s16_nor_does_a_worker_that_dies(own: Service, mine: Steps, flow: str) -> None:
    own.start("--queues", "work")
    own.start("--queues", "default")
    job_id = await mine.submit(flow, policy={"max_attempts": 1})
    await mine.called("child")
    await mine.until(job_id, "waiting")
    own.kill_worker()
    own.start("--queues", "default")
    await mine.asleep(job_id)
    mine.open("child")
    assert await mine.output(job_id) == "child done"
    assert (mine.calls["child"], await mine.field(job_id, "crashes")) == (1, None)


@pytest.mark.slow
@BOTH
async def test_s16_who_crashes_when_it_goes_on_is_blamed_and_who_waits_beside_it_is_not(steps: Steps, kind: str) -> None:
    neighbour = await steps.submit(f"waits{kind}")
    await steps.called("child")
    await steps.until(neighbour, "waiting")
    job = await steps.run(f"poison{kind}")
    assert (job["error"]["code"], steps.calls["poison"]) == ("worker-lost", 3)
    assert ((await steps.job(neighbour))["status"], await steps.field(neighbour, "crashes")) == ("waiting", None)
    steps.open("child")
    assert await steps.output(neighbour) == "child done"
    assert steps.calls["child"] == 1


@pytest.mark.slow
async def test_s16_a_waiting_suspect_gives_up_its_runner_and_takes_its_turn_again(steps: Steps) -> None:
    jobs = [await steps.submit("suspects", n) for n in range(2)]
    for n in range(2):
        await steps.called(f"flow{n}")
    await steps.kill("flow0")  # it, or what ran beside it, may have done that: they run again apart from the others
    await steps.called("flow0", 2)
    steps.open("first")
    for n, job_id in enumerate(jobs):
        await steps.called(f"child{n}")
        await steps.asleep(job_id)
    steps.open("child0")
    steps.open("child1")
    assert [await steps.output(job_id) for job_id in jobs] == [["child0 done"], ["child1 done"]]
    outcomes = await steps.outcomes(jobs[0])
    assert outcomes[0] == "crashed" and set(outcomes[1:]) == {"waited", "succeeded"}
    assert (steps.calls["flow0"], steps.calls["child0"], steps.calls["child1"]) == (3, 1, 1)


@FLOWS
async def test_s17_a_zombie_attempt_is_refused_and_makes_no_children(steps: Steps, flow: str) -> None:
    job_id = await steps.submit(flow)
    await steps.called("child")
    await steps.until(job_id, "waiting")
    nonce = orjson.loads(await steps.field(job_id, "a:1") or "{}")["nonce"]
    await steps.kill("flow")
    await steps.asleep(job_id)
    zombie, store = fence_of(1, nonce), steps.store
    journal = await steps.journal(job_id)
    child = Child("n:zombie", "c~p~d", "work", "work", b"{}", Policy().to_json())
    assert await store.steps.ask(job_id, zombie, [child], seen=-1, need=0, terms=Terms()) is None
    assert await store.steps.journal(job_id, zombie, [("l:zombie", b"d c~p~d 1")]) is None
    assert await store.steps.resume(job_id, zombie, 0, go=True) is None
    assert await store.claims.finish(job_id, zombie, "succeeded", b"1") != "succeeded"
    assert await steps.journal(job_id) == journal
    steps.open("child")
    assert await steps.output(job_id) == "child done"
    for refused in (
        await store.steps.ask(job_id, zombie, [child], seen=-1, need=0, terms=Terms()),
        await store.steps.journal(job_id, zombie, [("l:zombie", b"d c~p~d 1")]),
    ):
        assert refused is None
    assert [step["key"] for step in await steps.tree(job_id)] == [key for key in journal if key.startswith("work:")]


@pytest.mark.parametrize("flow", ["one_slot", "one_slot_sync"])
async def test_s18_a_tree_on_one_slot_ends(steps: Steps, flow: str) -> None:
    assert await steps.output(await steps.submit(flow, 3)) == 15


@pytest.mark.parametrize("flow", ["goes_before", "goes_before_sync"])
async def test_s18_a_waiting_parent_holds_no_slot_and_goes_on_before_new_jobs(steps: Steps, flow: str) -> None:
    parent = await steps.submit(flow, 0)
    await steps.called("child")
    others = [await steps.submit(flow, n) for n in (1, 2, 3)]
    await steps.called("begun1")
    steps.open("child")
    await asyncio.sleep(0.2)
    assert steps.calls["resumed"] == 0, "one at a time"
    steps.open("slot1")
    await steps.output(parent)
    order = [name for name, _ in steps.lines()]
    assert order.index("resumed") < (order.index("begun2") if "begun2" in order else len(order))
    for n in (2, 3):
        steps.open(f"slot{n}")
    for job_id in others:
        await steps.output(job_id)
