"""What operators ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from tests.integration.api.conftest import API, PlayedWorker, app_of, calling

from longrun.settings import Settings
from longrun.worker.dispatch.histograms import SIZES, WAITS, Histogram

Submit = Callable[..., Any]
WORKER = {
    "name": "w1",
    "running": 3,
    "models": {"captioner": {"queue": "gpu", "running": 2}, "embed": {"queue": "gpu", "running": 1}},
    "jobs": ["job_" + "0" * 32],
}


async def announce(worker: PlayedWorker) -> None:
    await worker.store.claims.announce("w1", orjson.dumps(WORKER))


async def test_models_are_shown_with_schemas_limits_and_policy(caller: httpx.AsyncClient) -> None:
    models = (await caller.get(f"{API}/models")).json()["models"]
    assert [each["name"] for each in models] == ["captioner", "collage", "count", "echo", "embed", "pay", "story"]
    captioner = (await caller.get(f"{API}/models/captioner")).json()
    assert captioner == models[0]
    assert (captioner["queue"], captioner["description"], captioner["streams"]) == ("gpu", "Caption an image.", False)
    assert captioner["input_schema"]["properties"]["max_tokens"]["maximum"] == 200
    assert (captioner["policy"]["max_attempts"], captioner["policy"]["timeout"]) == (3, 120)
    embed = (await caller.get(f"{API}/models/embed")).json()
    assert (embed["batched"], embed["options"]["max_batch_size"], embed["policy"]["retain_for"]) == (True, 4, 3600)
    assert (await caller.get(f"{API}/models/story")).json()["streams"] is True
    assert (await caller.get(f"{API}/models/nothing")).json()["code"] == "unknown-model"


async def test_queues_show_how_much_waits_where(caller: httpx.AsyncClient, submit: Submit) -> None:
    for priority in (5, 5, 9):
        await submit({"image": "x"}, "captioner", priority=priority)
    queues = {row["queue"]: row for row in (await caller.get(f"{API}/queues")).json()["queues"]}
    assert set(queues) == {"default", "gpu", "llm"}
    gpu = queues["gpu"]
    assert gpu["queued"] == 3 and gpu["oldest_seconds"] >= 0
    assert [(lane["model"], lane["queued"], lane["by_priority"]) for lane in gpu["models"]] == [
        ("captioner", 3, {"9": 1, "5": 2}),
        ("embed", 0, {}),
    ]
    assert (queues["llm"]["queued"], queues["llm"]["oldest_seconds"]) == (0, None)


async def test_scale_says_how_much_there_is_to_do(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    await submit({"image": "x"}, "captioner")
    await announce(worker)
    scale = (await caller.get(f"{API}/scale/gpu")).json()
    assert scale.pop("oldest_seconds") >= 0
    assert scale == {"queue": "gpu", "demand": 4, "queued": 1, "running": 3, "workers": 1}
    idle = {"queue": "llm", "demand": 0, "queued": 0, "running": 0, "oldest_seconds": None, "workers": 0}
    assert (await caller.get(f"{API}/scale/llm")).json() == idle
    answer = await caller.get(f"{API}/scale/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-queue")


async def test_workers_are_shown_as_they_announce_themselves(caller: httpx.AsyncClient, worker: PlayedWorker) -> None:
    assert (await caller.get(f"{API}/workers")).json() == {"workers": []}
    await announce(worker)
    assert (await caller.get(f"{API}/workers")).json() == {"workers": [WORKER]}


async def test_with_keys_the_jobs_of_workers_are_not_told(settings: Settings, worker: PlayedWorker) -> None:
    await announce(worker)
    async with calling(
        app_of(Settings(**{**settings.model_dump(), "api_keys": {"a": "k"}})), headers={"Authorization": "Bearer k"}
    ) as caller:
        (shown,) = (await caller.get(f"{API}/workers")).json()["workers"]
    assert shown == {name: value for name, value in WORKER.items() if name != "jobs"}


async def test_stats_count_by_model(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    await worker.succeed((await submit())["id"])
    await worker.fail((await submit())["id"])
    stats = {row["model"]: row for row in (await caller.get(f"{API}/stats")).json()["models"]}
    assert (stats["echo"]["succeeded"], stats["echo"]["failed"], stats["echo"]["canceled"]) == (1, 1, 0)
    assert stats["story"]["succeeded"] == 0


async def test_metrics_are_in_prometheus_text_format(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    await submit(priority=9)
    await worker.succeed((await submit())["id"])
    await announce(worker)
    answer = await caller.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    for line in (
        "# TYPE longrun_jobs_waiting gauge",
        'longrun_jobs_waiting{queue="default",model="echo",priority="9"} 1',
        'longrun_jobs_ended_total{model="echo",status="succeeded"} 1',
        "longrun_workers 1",
        "longrun_jobs_claimed 0",
    ):
        assert line in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) and all(line.startswith(("#", *names)) for line in lines)


async def test_batches_and_memory_of_workers_are_in_the_figures(caller: httpx.AsyncClient, worker: PlayedWorker) -> None:
    sizes, waits = Histogram(SIZES), Histogram(WAITS)
    for size in (1, 8, 8):
        sizes.add(size)
    waits.add(0.02)
    runner = {"models": ["echo"], "memory": 4096, "gpu_memory": {"allocated": 1, "reserved": 2, "peak": 3}}
    batches = {"size": sizes.snapshot(), "wait_s": waits.snapshot()}
    entry = {"name": "w1", "models": {"echo": {"queue": "default", "batches": batches}}, "runners": [runner], "jobs": []}
    await worker.store.claims.announce("w1", orjson.dumps(entry))
    lines = (await caller.get("/metrics")).text.splitlines()
    for line in (
        "# TYPE longrun_batch_size histogram",
        'longrun_batch_size_bucket{worker="w1",model="echo",le="1"} 1',
        'longrun_batch_size_bucket{worker="w1",model="echo",le="4"} 1',
        'longrun_batch_size_bucket{worker="w1",model="echo",le="8"} 3',
        'longrun_batch_size_bucket{worker="w1",model="echo",le="+Inf"} 3',
        'longrun_batch_size_sum{worker="w1",model="echo"} 17.0',
        'longrun_batch_wait_seconds_bucket{worker="w1",model="echo",le="0.01"} 0',
        'longrun_batch_wait_seconds_count{worker="w1",model="echo"} 1',
        'longrun_runner_memory_bytes{worker="w1",runner="0",models="echo"} 4096',
        'longrun_runner_gpu_memory_bytes{worker="w1",runner="0",models="echo",kind="peak"} 3',
    ):
        assert line in lines, line
    stats = {row["model"]: row for row in (await caller.get(f"{API}/stats")).json()["models"]}
    assert stats["echo"]["batches"] == {"count": 3, "mean_size": 5.67, "mean_wait_s": 0.02}
    assert stats["story"]["batches"] is None


async def test_health_is_told_apart_from_readiness(caller: httpx.AsyncClient, worker: PlayedWorker) -> None:
    assert (await caller.get("/livez")).json() == {"live": True}
    assert (await caller.get("/readyz")).json() == {"ready": True, "checks": {"store": "ok", "files": "ok"}, "workers": 0}
    await announce(worker)
    assert (await caller.get("/readyz")).json()["workers"] == 1


async def test_documentation_is_served(caller: httpx.AsyncClient) -> None:
    document = (await caller.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0" and f"{API}/models/captioner/jobs" in document["paths"]
    assert "swagger" in (await caller.get("/docs")).text.lower()


async def fail_some(submit: Submit, worker: PlayedWorker) -> dict[str, str]:
    """Dead letters: name → id."""
    found = {}
    for name, model, input, code in (
        ("broken", "echo", {"value": 1}, "model-error"),
        ("slow", "echo", {"value": 1}, "timeout"),
        ("other", "count", {"to": 1}, "model-error"),
    ):
        job = await submit(input, model)
        await worker.fail(job["id"], code)
        found[name] = job["id"]
    return found


async def test_dead_letters_are_the_failed_jobs_that_nobody_retried(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    dead = await fail_some(submit, worker)
    await worker.succeed((await submit())["id"])
    listed = [job["id"] for job in (await caller.get(f"{API}/dead-letters")).json()["jobs"]]
    assert sorted(listed) == sorted(dead.values())
    page = (await caller.get(f"{API}/dead-letters?limit=2")).json()
    assert f"{API}/dead-letters?" in page["next"]
    assert [job["id"] for job in page["jobs"] + (await caller.get(page["next"])).json()["jobs"]] == listed
    assert [job["id"] for job in (await caller.get(f"{API}/dead-letters?model=count")).json()["jobs"]] == [dead["other"]]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"all": True}, {"broken", "slow", "other"}),
        ({"model": "echo"}, {"broken", "slow"}),
        ({"code": "model-error"}, {"broken", "other"}),
        ({"model": "echo", "code": "timeout"}, {"slow"}),
        ({"code": "nothing"}, set()),
    ],
)
async def test_dead_letters_are_redriven_by_what_they_have_in_common(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker, body: dict[str, Any], names: set[str]
) -> None:
    dead = await fail_some(submit, worker)
    done = (await caller.post(f"{API}/dead-letters/redrive", json=body)).json()
    assert {each["id"] for each in done["redriven"]} == {dead[name] for name in names}
    assert (done["skipped"], done["left"]) == ([], 3 - len(names))
    for each in done["redriven"]:
        assert (await caller.get(f"{API}/jobs/{each['job_id']}")).json()["retry_of"] == each["id"]


async def test_dead_letters_are_redriven_by_id_and_what_is_none_is_told(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    dead = await fail_some(submit, worker)
    queued = await submit()
    ids = [dead["broken"], queued["id"], "nonsense", "job_" + "0" * 32, dead["broken"]]
    done = (await caller.post(f"{API}/dead-letters/redrive", json={"ids": ids})).json()
    assert [each["id"] for each in done["redriven"]] == [dead["broken"]]
    codes = {queued["id"]: "not-retryable", "nonsense": "job-not-found", "job_" + "0" * 32: "job-not-found"}
    assert {each["id"]: each["code"] for each in done["skipped"]} == codes
    assert done["left"] == 2


async def test_a_thousand_dead_letters_are_redriven_at_once_and_the_rest_are_counted(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    async def fail_one() -> None:
        await worker.fail((await submit())["id"])

    for _ in range(10):
        await asyncio.gather(*(fail_one() for _ in range(101)))
    done = (await caller.post(f"{API}/dead-letters/redrive", json={"all": True})).json()
    assert (len(done["redriven"]), done["left"]) == (1000, 10)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": False},
        {"all": True, "ids": ["x"]},
        {"ids": []},
        {"ids": ["x"] * 1001},
        {"model": ""},
        {"nonsense": 1},
        [],
        None,
        {"ids": [1]},
    ],
)
async def test_a_redrive_says_one_thing_and_says_it_clearly(caller: httpx.AsyncClient, body: Any) -> None:
    content = orjson.dumps(body)
    answer = await caller.post(f"{API}/dead-letters/redrive", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation-failed")
    assert answer.json()["errors"]
