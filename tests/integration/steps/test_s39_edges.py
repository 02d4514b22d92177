"""S39 to S42, and S44: where steps are refused, flows without a server, and code that is unwound."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.steps.conftest import BOTH, Service, Steps

from longrun import Job, Model, model
from longrun.models import isolated_registry

APP = Path(__file__).with_name("models_at_the_edge.py")
WORKERS = [("--queues", "work,flow,main")]
FLOW = ("--queues", "flow")


# -- S39 ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["run", "gather", "map", "first", "sleep", "step", "wait", "kept"])
async def test_s39_what_is_not_awaited_is_an_error_at_the_end(steps: Steps, how: str) -> None:
    job = await steps.run("forgets", input={"to": str(steps.to), "how": how})
    assert (job["status"], job["error"]["code"]) == ("failed", "step-not-awaited")
    assert "await" in job["error"]["detail"]
    assert steps.calls == {}


async def test_s39_what_was_begun_and_left_is_stopped_and_no_error(steps: Steps) -> None:
    job = await steps.run("forgets", input={"to": str(steps.to), "how": "task"})
    assert (job["status"], job["output"]) == ("succeeded", "begun False")


# -- S40, S44 -----------------------------------------------------------------------------------------------------------------


async def test_s40_a_batched_model_is_refused_with_that_sentence(steps: Steps) -> None:
    for name in ("in_batches", "in_async_batches"):
        job = await steps.run(name, input={"n": 1})
        sentence = "a batched model cannot run steps: one call of it works for several jobs. Call it as a step instead"
        assert job["output"] == f"not-supported: {sentence}", job


async def test_s44_a_model_on_the_main_thread_is_refused(steps: Steps) -> None:
    job = await steps.run("on_main", input={})
    assert job["output"].startswith("not-supported: a model with main_thread=True cannot wait for steps"), job
    assert " | " not in job["output"]


# -- S41 ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models() -> Any:
    """The models as a program of its own has them, without a server."""
    sys.path.insert(0, str(APP.parent))
    try:
        with isolated_registry():
            spec = importlib.util.spec_from_file_location("models_at_the_edge_alone", APP)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(APP.parent))


@BOTH
def test_s41_a_bare_job_runs_children_in_place(models: Any, tmp_path: Path, kind: str) -> None:
    models.tried.clear()
    job, to = Job(signals={"approve": {"ok": True}, "never": TimeoutError}), str(tmp_path)
    found = asyncio.run(models.whole(to, job)) if not kind else models.whole_sync(to, job)
    wanted = [[f"{to} 0", f"{to} 1"], 7, [1, 2], True, "wait-timeout", ["model-error", "n:named", "conflict"], 1.0, True, False]
    assert found == wanted


async def test_s41_plain_code_runs_in_place_where_a_loop_runs_too(models: Any, tmp_path: Path) -> None:
    """As in an async test, and in a notebook; whether it is a function or a class, of a module or of a function."""

    with isolated_registry():

        class Plain(Model):
            def predict(self, text: str, job: Job) -> str:
                return "".join([job.run(models.shout, text=text) for _ in range(2)])

        @model
        def inner(text: str, job: Job) -> str:
            return str(job.run(models.shout, text=text))

    models.tried.clear()
    job = Job(signals={"approve": {"ok": True}, "never": TimeoutError})
    assert models.whole_sync(str(tmp_path), job)[:3] == [[f"{tmp_path} 0", f"{tmp_path} 1"], 7, [1, 2]]
    assert Plain().predict("a", Job()) == "a!a!"
    assert inner("a", Job()) == "a!"


async def test_s41_chains_and_nested_flows_run_in_place_too(models: Any) -> None:
    assert await models.chained("a", Job()) == "a!! a!!!"
    assert await models.nested(3, Job()) == 3


# -- S42 ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("swallows", [False, True])
async def test_s42_clean_up_runs_and_asks_for_nothing(own: Service, mine: Steps, kind: str, swallows: bool) -> None:
    own.start("--queues", "work")
    flow = own.start(*FLOW)
    job_id = await mine.submit(f"cleans_up{kind}", input={"to": str(mine.to), "swallows": swallows})
    await mine.called("w")
    await mine.until(job_id, "waiting")
    before = await mine.journal(job_id)
    assert flow.stop() == 0
    assert mine.calls == {
        **{"enter": 1, "w": 1, "caught-LetGo": 1, "run-LetGo": 1, "step-LetGo": 1, "sleep-LetGo": 1, "finally": 1, "stack": 1}
    }
    assert await mine.journal(job_id) == before
    assert (await mine.job(job_id))["status"] == "waiting"
    mine.open("w")
    own.start(*FLOW)
    assert await mine.output(job_id) == "w done"
    assert mine.calls["w"] == 1 and mine.calls["enter"] == 2 and mine.calls["in-clean-up"] == 0
    assert await mine.outcomes(job_id) == ["waited", "succeeded"]


@BOTH
async def test_s42_as_a_cancel_does(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"cleans_up{kind}", input={"to": str(steps.to)})
    await steps.called("w")
    await steps.until(job_id, "waiting")
    await steps.post(job_id, "cancel")
    assert (await steps.until(job_id))["status"] == "canceled"
    assert {name: times for name, times in steps.calls.items() if name not in ("w", "enter")} == {
        **{"caught-Canceled": 1, "run-Canceled": 1, "step-Canceled": 1, "sleep-Canceled": 1, "finally": 1, "stack": 1}
    }
    steps.open("w")
