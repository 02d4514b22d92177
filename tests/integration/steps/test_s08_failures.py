"""S8 to S12: steps that fail, and what retries make of them. The worker lets parents go at every wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.integration.api.conftest import API
from tests.integration.steps.conftest import BOTH, Service, Steps

APP = Path(__file__).with_name("models_whose_steps_fail.py")
WORKERS = [("--rehearse",)]
DOCS = Path(__file__).parents[3] / "docs" / "http.md"
B1, B2 = "b1 says no", "b2 says no"


async def gathering(steps: Steps, flow: str, n: int) -> str:
    """Its last step has failed, the others run."""
    job_id = await steps.submit(flow, n)
    await steps.called("b1")
    await steps.called("w")
    await steps.called("b2")
    return job_id


@BOTH
async def test_s08_a_gather_waits_for_all_and_raises_the_first_failure_in_the_order_of_arguments(steps: Steps, kind: str) -> None:
    job_id = await gathering(steps, f"gathers{kind}", 0)
    steps.open("b1")
    await steps.until(job_id, "waiting")
    assert "gathered" not in steps.calls, "it waits for all"
    steps.open("w")
    code, detail, _, key, child = await steps.output(job_id)
    assert (code, detail) == ("model-error", B1)
    tree = {step["id"]: step for step in await steps.tree(job_id)}
    assert tree[child]["key"] == key
    assert sorted(step["status"] for step in tree.values()) == ["failed", "failed", "succeeded"], "paid work is kept"


@BOTH
async def test_s08_return_exceptions_and_fail_fast(steps: Steps, kind: str) -> None:
    steps.open("b1")
    steps.open("w")
    one, two, three = await steps.output(await steps.submit(f"gathers{kind}", 1))
    assert (one[1], two, three[1]) == (B1, "w done", B2)
    (steps.to / "gate-b1").unlink()
    (steps.to / "gate-w").unlink()
    job_id = await steps.submit(f"gathers{kind}", 2)
    failure = await steps.output(job_id)
    assert failure[1] == B2
    for step in await steps.tree(job_id):
        assert (await steps.until(step["id"]))["status"] == ("failed" if step["id"] == failure[4] else "canceled")


@BOTH
async def test_s09_a_failed_step_raises_step_failed_and_the_same_at_each_replay(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"catches{kind}")
    found, seen = await steps.output(job_id)
    assert found == seen
    error, failure, odd, late, local = found
    ids = {step["key"]: step["id"] for step in await steps.tree(job_id)}
    assert [each[0] for each in found] == ["model-error", "model-error", "model-error", "expired", "model-error"]
    assert (error[2], failure[1], odd[2], late[3], local[2:]) == (
        "ValueError",
        "failure says no",
        "Odd",
        "n:late",
        ["Odd", "l:local", None],
    )
    assert all(each[4] == ids[each[3]] for each in found[:4])
    assert "secret" not in str(found)
    assert steps.calls["flow"] >= 3
    assert [steps.calls[name] for name in ("error", "failure", "odd", "local", "last")] == [1] * 5


@BOTH
async def test_s09_not_caught_it_ends_the_parent(steps: Steps, kind: str) -> None:
    for n in (0, 1):
        job_id = await steps.submit(f"passes_on{kind}", n)
        job = await steps.until(job_id)
        (step,) = await steps.tree(job_id)
        error = job["error"]
        assert (job["status"], error["code"], error["step"], error["job_id"]) == ("failed", "step-failed", step["key"], step["id"])
        assert error["step_code"] == "model-error"
        assert ("b says no" in str(error), "secret" in str(error)) == (n == 1, False), "its text only where it was a Failure's"


@BOTH
async def test_s09_a_retry_of_the_parent_covers_it(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"retries{kind}")
    await steps.called("canceled")
    assert (await steps.post((await steps.step(job_id, "n:canceled"))["id"], "cancel")).is_success
    await steps.called("model-error-canceled-expired")
    assert await steps.output(job_id) == ["kept done", "1", "b mended", "canceled done"]


def test_s09_its_codes_are_documented() -> None:
    text = DOCS.read_text()
    for code in ("step-failed", "not-a-root", "already-answered", "too-many-steps", "over-budget", "step-not-awaited", "wait-timeout"):
        assert f"| `{code}` |" in text


@BOTH
async def test_s10_a_retry_keeps_successes_and_runs_the_others_anew_under_new_ids(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"retries{kind}")
    await steps.called("canceled")
    before = {step["key"]: step["id"] for step in await steps.tree(job_id)}
    assert (await steps.post(before["n:canceled"], "cancel")).is_success
    assert (await steps.output(job_id))[:2] == ["kept done", "1"]
    assert [steps.calls[name] for name in ("kept", "paid", "b", "canceled", "ok-ok-expired")] == [1, 1, 2, 2, 1]
    after = {step["key"]: step["id"] for step in await steps.tree(job_id)}
    assert before.keys() == after.keys()
    assert {key for key in before if before[key] != after[key]} == {"n:b", "n:canceled", "n:late"}
    assert await steps.field(job_id, "epoch") == "1"


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("arguments", [(), ("--rehearse",)], ids=["resident", "rehearsed"])
async def test_s10_a_step_that_is_still_being_stopped_runs_anew_too(
    own: Service, mine: Steps, kind: str, arguments: tuple[str, ...]
) -> None:
    own.start(*arguments)
    job_id = await mine.submit(f"gives_up_once{kind}")
    await mine.called("stubborn")
    mine.open("b")
    assert await mine.output(job_id) == ["stubborn 2", "b mended"]


@pytest.mark.slow
@BOTH
async def test_s10_what_nobody_knows_is_raised_again_until_a_person_retries(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"unknown{kind}")
    job = await steps.until(job_id)
    assert job["error"]["code"] == "model-error"
    assert [steps.calls[name] for name in ("dies", "once", "outcome-unknown-outcome-unknown")] == [1, 1, 2]
    steps.open("mend-dies")
    retried = (await steps.post(job_id, "retry")).json()["id"]
    assert await steps.output(retried) == ["alive", "done"]
    assert [steps.calls[name] for name in ("dies", "once")] == [2, 2]


@BOTH
async def test_s11_a_retried_root_is_a_new_job_that_adopts_what_finished(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"fourth{kind}")
    job = await steps.until(job_id)
    assert job["error"]["code"] == "step-failed"
    before = {step["key"]: step["id"] for step in await steps.tree(job_id)}
    steps.open("mend-b")
    answer = await steps.post(job_id, "retry")
    retried = answer.json()["id"]
    assert (answer.status_code, retried != job_id) == (202, True)
    journal = await steps.journal(retried)
    assert before.keys() <= journal.keys(), "it was copied in the same script"
    assert await steps.output(retried) == ["one done", "two done", "paid", "b mended"]
    after = {step["key"]: step["id"] for step in await steps.tree(retried)}
    assert [key for key in before if before[key] != after[key]] == [key for key in before if key.startswith("broken:")]
    assert steps.calls == {"one": 1, "two": 1, "paid": 1, "b": 2}
    two = await steps.job(after["n:two"])
    assert (two["id"], two["status"]) == (before["n:two"], "succeeded"), "adopted, not copied"
    assert (await steps.post(job_id, "retry")).json()["id"] == retried


@pytest.mark.slow
@BOTH
async def test_s11_also_while_steps_of_the_failed_root_are_still_being_stopped(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"gives_up{kind}")
    await steps.called("stubborn")
    steps.open("b")
    assert (await steps.until(job_id))["error"]["code"] == "step-failed"
    steps.open("mend-b")
    retried = (await steps.post(job_id, "retry")).json()["id"]
    assert await steps.output(retried) == ["stubborn 2", "b mended"]


@BOTH
async def test_s11_answers_and_sleeps_are_adopted_too(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"answered{kind}")
    await steps.post(job_id, "signals/word", "said")
    assert (await steps.until(job_id))["status"] == "failed"
    steps.open("mend-b")
    retried = (await steps.post(job_id, "retry")).json()["id"]
    assert await steps.output(retried) == ["said", None, "b mended"]


async def test_s12_a_child_is_retried_and_deleted_with_its_root_and_is_no_dead_letter(steps: Steps, service: Service) -> None:
    job_id = await steps.submit("passes_on")
    await steps.until(job_id)
    (step,) = await steps.tree(job_id)
    for answer in (await steps.post(step["id"], "retry"), await steps.http.delete(f"{API}/jobs/{step['id']}")):
        body: Any = answer.json()
        assert (answer.status_code, body["code"], body["root"]) == (409, "not-a-root", job_id)
    dead = (await steps.http.get(f"{API}/dead-letters")).json()["jobs"]
    assert job_id in [job["id"] for job in dead] and step["id"] not in [job["id"] for job in dead]


@BOTH
async def test_s12_a_child_may_be_canceled_alone_and_its_parent_sees_that(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"waits_for_one{kind}")
    await steps.called("child")
    (step,) = await steps.tree(job_id)
    assert (await steps.post(step["id"], "cancel")).is_success
    code, _, _, key, child = await steps.output(job_id)
    assert (code, key, child) == ("canceled", step["key"], step["id"])
    assert (await steps.job(step["id"]))["status"] == "canceled"
