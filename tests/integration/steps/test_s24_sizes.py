"""S24 to S27: many children, large outputs, long loops, and the limits of a tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.integration.steps.conftest import BOTH, Service, Steps

APP = Path(__file__).with_name("models_that_grow.py")
LARGE = 50_000_000


async def bytes_of(steps: Steps, key: str) -> int:
    """What a key of the store takes up."""
    return int(await steps.store.connection.command("MEMORY", "USAGE", steps.store.prefix + key, "SAMPLES", 0) or 0)


# -- S24 ----------------------------------------------------------------------------------------------------------------------


async def test_s24_children_wake_their_parent_once_and_are_not_counted_as_queued(own: Service, mine: Steps) -> None:
    """Where 5 jobs may be queued, and a parent is let go at every wait: it runs twice."""
    own.start("--rehearse", LONGRUN_MAX_QUEUED="5")
    for kind in ("", "_sync"):
        assert await mine.output(await mine.submit(f"wide{kind}", 250)) == sum(range(250))
    assert mine.calls["wide"] == 4


@pytest.mark.slow
@BOTH
async def test_s24_ten_thousand_children(own: Service, mine: Steps, kind: str) -> None:
    own.start("--rehearse", LONGRUN_MAX_QUEUED="5")
    job_id = await mine.submit(f"wide{kind}", 10_000)
    job = await mine.until(job_id, timeout=400)
    assert (job["status"], job["output"]) == ("succeeded", sum(range(10_000)))
    assert mine.calls["wide"] <= 2  # one wake
    other = await mine.submit(f"one_too_many{kind}", 10_000)
    job = await mine.until(other, timeout=400)
    assert job["output"] == [10_000, ["StepRefused"], ["too-many-steps"]]


# -- S25 ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@BOTH
async def test_s25_what_is_passed_on_is_not_loaded(own: Service, mine: Steps, kind: str) -> None:
    own.start("--queues", "work")
    own.start("--queues", "heavy")
    await mine.output(await mine.submit(f"passes_on{kind}", 1))  # what is imported for the first
    size, grown = await mine.output(await mine.submit(f"passes_on{kind}", LARGE))
    assert size == LARGE
    assert grown < LARGE / 10


@pytest.mark.slow
@BOTH
async def test_s25_a_large_output_is_a_file_to_which_journal_and_record_refer(own: Service, mine: Steps, kind: str) -> None:
    own.start("--queues", "work", LONGRUN_MAX_OUTPUT=str(2 * LARGE))
    own.start("--queues", "flow", LONGRUN_MAX_OUTPUT=str(2 * LARGE))
    job_id = await mine.submit(f"takes{kind}", LARGE)
    await mine.called("after")
    child = (await mine.step(job_id, "big:"))["id"]
    assert await bytes_of(mine, f"job:{child}") + await bytes_of(mine, f"steps:{job_id}") < 10_000
    own.restart("--queues", "flow", LONGRUN_MAX_OUTPUT=str(2 * LARGE))
    mine.open("after")
    assert await mine.output(job_id) == [LARGE]
    assert mine.calls["after"] == 1


@pytest.mark.slow
@BOTH
async def test_s25_a_large_input_is_a_file_too(own: Service, mine: Steps, kind: str) -> None:
    own.start("--queues", "work", LONGRUN_MAX_OUTPUT=str(2 * LARGE))
    own.start("--queues", "flow")
    job_id = await mine.submit(f"gives_much{kind}", LARGE)
    assert await mine.output(job_id) == [LARGE, 5]
    sizes = [await bytes_of(mine, f"job:{each['id']}") for each in await mine.tree(job_id)]
    assert len(sizes) == 3 and max(sizes) < 5000


@BOTH
async def test_s25_an_output_that_is_too_large_fails_the_child(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"takes{kind}", 5000)
    steps.open("after")
    assert await steps.output(job_id) == ["result-too-large"]
    child = await steps.step(job_id, "big:")
    assert (child["status"], child["error"]["code"]) == ("failed", "result-too-large")


# -- S26 ----------------------------------------------------------------------------------------------------------------------


@BOTH
async def test_s26_a_loop_costs_the_journal_the_same_each_turn_and_drops_what_was_said(steps: Steps, kind: str) -> None:
    turns = 25
    job_id = await steps.submit(f"talks_on{kind}", turns)
    assert await steps.output(job_id) == turns + 1
    entries = [value for key, value in (await steps.journal(job_id)).items() if key.startswith("reply:")]
    assert len(entries) == turns
    assert max(map(len, entries)) < 150
    inputs = [await steps.field(each["id"], "input") for each in await steps.tree(job_id)]
    assert all(each is None or len(each) <= 4096 for each in inputs)
    assert [each is None for each in inputs] == sorted(each is None for each in inputs)
    assert inputs[0] is not None and inputs[-1] is None


# -- S27 ----------------------------------------------------------------------------------------------------------------------


async def test_s27_a_tree_is_ten_deep_or_as_its_model_says(steps: Steps) -> None:
    for model, refused in (("deeper", "11 StepRefused too-many-steps"), ("deeper_sync", "4 StepRefused too-many-steps")):
        job = await steps.run(model, input={})
        assert (job["status"], job["output"]) == ("succeeded", refused), job


async def test_s27_a_tree_has_so_many_jobs(steps: Steps) -> None:
    job_id = await steps.submit("bomb", input={"to": str(steps.to)})
    assert await steps.output(job_id) == ["too-many-steps"]
    assert steps.calls["bomb"] <= 21


@BOTH
async def test_s27_jobs_are_counted_anew_in_a_retried_root(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"three_and_a_failure{kind}", 2)
    assert (await steps.until(job_id))["error"]["code"] == "step-failed"
    steps.open("mend-b")
    again = (await steps.post(job_id, "retry")).json()["id"]
    assert await steps.output(again) == ["w0 done", "w1 done", "b mended", "more0 done", "more1 done"]
    assert steps.calls == {"w0": 1, "w1": 1, "b": 2, "more0": 1, "more1": 1}
    # Four are too many for one that was not retried.
    steps.open("mend-b")
    whole = await steps.until(await steps.submit(f"three_and_a_failure{kind}", 1))
    assert (whole["error"]["code"], whole["error"].get("step_code")) == ("step-failed", "too-many-steps")


@BOTH
@pytest.mark.parametrize("depth", [0, 1], ids=["root", "below"])
async def test_s27_a_budget_holds_for_any_job_of_the_tree(steps: Steps, kind: str, depth: int) -> None:
    job_id = await steps.submit(f"frugal{kind}", depth)
    found = await steps.output(job_id)
    assert found[:5] == ["0.4", "0.4", "0.4", "StepRefused over-budget", "StepRefused over-budget"]
    assert found[5:] == ["over-budget"] * depth
    spent = (await steps.job(job_id)).get("steps_usage", {})
    assert spent == {} or abs(spent["cost_usd"] - 1.2) < 1e-9


@pytest.mark.slow
async def test_s27_an_operator_limits_what_a_model_may_raise(own: Service, mine: Steps) -> None:
    own.start(LONGRUN_MAX_TREE="100")
    job: dict[str, Any] = await mine.run("one_too_many", 100)
    assert job["output"] == [100, ["StepRefused"], ["too-many-steps"]], job
