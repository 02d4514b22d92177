"""S28 to S30: what is done once, at least or at most; and what a step returns."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.integration.steps.conftest import BOTH, Service, Steps

APP = Path(__file__).with_name("models_that_pay.py")
WORKERS = [("--queues", "work,flow,mortal")]


def keys(steps: Steps, beginning: str) -> set[str]:
    return {name for name in steps.calls if name.startswith(beginning)}


# -- S28 ----------------------------------------------------------------------------------------------------------------------


@BOTH
async def test_s28_killed_after_the_effect_the_function_runs_again_with_the_same_key(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"pays{kind}", 1)
    paid, child = await steps.output(job_id)
    (key,) = keys(steps, "key_")
    assert paid == f"paid {key}"
    assert steps.calls == {key: 2, f"child-{child}": 1, "own-True": 2}
    assert child.startswith("key_") and child != key


@BOTH
async def test_s28_with_once_it_is_never_called_a_second_time(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"pays{kind}", 2)
    job = await steps.until(job_id)
    assert (job["status"], job["error"]["code"], job["error"]["step_code"]) == ("failed", "step-failed", "outcome-unknown")
    (key,) = keys(steps, "key_")
    assert steps.calls[key] == 1
    # A person decides: then it is.
    again = (await steps.post(job_id, "retry")).json()["id"]
    paid, _ = await steps.output(again)
    assert (paid, steps.calls[key]) == (f"paid {key}", 2)


@BOTH
async def test_s28_the_parents_own_retry_does_not_call_it_either(steps: Steps, kind: str) -> None:
    job = await steps.run(f"pays_again{kind}", 1)
    assert (job["status"], job["error"]["code"], job["error"]["step_code"]) == ("failed", "step-failed", "outcome-unknown")
    (key,) = keys(steps, "key_")
    assert steps.calls[key] == 1
    assert steps.calls["attempt"] == 4  # it died in the first; then three epochs


@BOTH
async def test_s28_keys_are_the_same_in_epochs(steps: Steps, kind: str) -> None:
    paid, child = await steps.output(await steps.submit(f"pays_again{kind}"))
    (key,) = keys(steps, "key_")
    assert paid == f"paid {key}"
    assert steps.calls[key] == 1
    assert steps.calls[f"child-{child}"] == 2
    assert keys(steps, "child-") == {f"child-{child}"}


@BOTH
async def test_s28_keys_are_the_same_in_a_callers_retries(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"pays{kind}", 3)
    assert (await steps.until(job_id))["status"] == "failed"
    second = (await steps.post(job_id, "retry")).json()["id"]
    assert (await steps.until(second))["status"] == "failed"
    steps.open("mended")
    third = (await steps.post(second, "retry")).json()["id"]
    _, child = await steps.output(third)
    (key,) = keys(steps, "key_")
    assert steps.calls == {key: 1, f"child-{child}": 3, "own-True": 3}
    assert child == (await steps.output(third))[1]


# -- S29 ----------------------------------------------------------------------------------------------------------------------


@BOTH
async def test_s29_what_is_done_at_most_once_cannot_sleep_or_ask(steps: Steps, kind: str) -> None:
    for n in (1, 2):
        assert await steps.output(await steps.submit(f"only_once{kind}", n)) == "StepRefused at-most-once"


@pytest.mark.slow
@BOTH
async def test_s29_it_is_never_let_go(own: Service, mine: Steps, kind: str) -> None:
    own.start("--rehearse")
    job_id = await mine.submit(f"only_once{kind}")
    await mine.until(job_id, "waiting")
    mine.open("w")
    assert await mine.output(job_id) == "w done"
    assert await mine.outcomes(job_id) == ["succeeded"]
    assert mine.calls == {"once": 1, "w": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "n"), [("only_once", 0), ("only_once_sync", 0), ("only_once", 3), ("only_once_sync", 3), ("runs_beside", 0)]
)
@pytest.mark.parametrize("how", ["runner", "worker", "stop"])
async def test_s29_lost_it_is_unknown_and_its_tree_is_stopped(own: Service, mine: Steps, model: str, n: int, how: str) -> None:
    own.settings = own.settings.model_copy(update={"lease": 4})
    own.start("--queues", "work")
    worker = own.start("--queues", "flow")
    job_id = await mine.submit(model, input={"to": str(mine.to)} | ({} if model == "runs_beside" else {"n": n}))
    pid = await mine.called("busy" if n == 3 else "w")
    if model == "only_once" and n == 0:
        await mine.until(job_id, "waiting")
    match how:
        case "runner":
            for runner in worker.runners:
                runner.send_signal(signal.SIGKILL)
        case "worker":
            own.kill_worker()
        case "stop":
            worker.stop()
    if how != "runner":
        own.start("--queues", "flow")
    job = await mine.until(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "outcome-unknown"), (job["error"], pid)
    child = await mine.step(job_id, "work:")
    ended = await mine.until(child["id"])
    assert ended["status"] == ("succeeded" if n == 3 else "canceled")
    assert mine.calls["w"] == 1


@BOTH
async def test_s29_an_at_most_once_step_fails_alone(steps: Steps, kind: str) -> None:
    assert await steps.output(await steps.submit(f"outlives{kind}")) == "outcome-unknown, then w done"
    assert steps.calls == {"mortal": 1, "w": 1}


# -- S30 ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@BOTH
async def test_s30_what_a_step_returns_is_what_the_journal_holds(own: Service, mine: Steps, kind: str) -> None:
    own.start("--queues", "work")
    own.start("--queues", "flow")
    found = []
    for name in ("first", "replayed"):
        job_id = await mine.submit(f"types{kind}")
        await mine.called("after", 1 if name == "first" else 2)
        if name == "replayed":
            own.restart("--queues", "flow")
        mine.open("after")
        found.append(await mine.output(job_id))
        (mine.to / "gate-after").unlink()
    whole = [[1, [2]], [1], False, "Strict", [1, 2], [1, 3], [1, [2]], ["Pair", 3, 2.0]]
    whole.append(["invalid-output", 3, [[1], 2], 1, {"a": [1]}])
    assert found == [whole, whole]
