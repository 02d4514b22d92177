"""Where runners run, and how they are made ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import Caller, Worker

MODELS = Path(__file__).with_name("models_on_devices.py")
Start = Callable[..., Worker]


@pytest.fixture
def torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which `import torch` is noted, with what CUDA would see then."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text(
        "import os\nVISIBLE = os.environ.get('CUDA_VISIBLE_DEVICES')\nopen(os.environ['IMPORTS'], 'a').write(f'{os.getpid()}\\n')\n"
    )
    return {"PYTHONPATH": str(tmp_path), "IMPORTS": str(tmp_path / "imports")}


async def announced(caller: Caller, model: str) -> dict[str, Any]:
    """What the worker that serves a model says of itself; others may be announced in this store too."""
    workers, *_ = await caller.store.records.overview()
    (found,) = [entry for entry in map(orjson.loads, workers) if model in entry.get("models", {}) and not entry["stopping"]]
    return dict(found)


async def test_each_visible_gpu_gets_a_runner_that_sees_it_alone_and_the_worker_imports_no_torch(
    start_worker: Start, caller: Caller, torch: dict[str, str]
) -> None:
    worker = start_worker("--queues", "devices", app=MODELS, CUDA_VISIBLE_DEVICES="GPU-8932f937,MIG-0a1b2c3d", **torch)
    await caller.ready("on_gpu")
    jobs = await asyncio.gather(*[caller.run("on_gpu", "devices") for _ in range(8)])
    outputs = [orjson.loads(job.output or b"[]") for job in jobs]
    assert {device for device, *_ in outputs} == {"cuda:0"}
    assert {(at_start, at_import) for _, at_start, at_import, _ in outputs} == {(name, name) for name in ("GPU-8932f937", "MIG-0a1b2c3d")}
    imported = {int(line) for line in Path(torch["IMPORTS"]).read_text().split()}  # noqa: ASYNC240
    assert imported == {pid for *_, pid in outputs}
    assert worker.process.pid not in imported
    # A model that wants no GPU stays on the CPU, in a runner beside them.
    assert orjson.loads((await caller.run("on_cpu", "devices")).output or b"") == "cpu"
    runners = (await announced(caller, "on_gpu"))["runners"]
    assert sorted((runner["models"][0], runner["gpus"]) for runner in runners) == [
        ("on_cpu", None),
        ("on_gpu", "GPU-8932f937"),
        ("on_gpu", "MIG-0a1b2c3d"),
    ]


async def test_without_a_gpu_it_is_the_cpu(start_worker: Start, caller: Caller, torch: dict[str, str]) -> None:
    start_worker("--queues", "devices", app=MODELS, CUDA_VISIBLE_DEVICES="", **torch)
    device, *_ = orjson.loads((await caller.run("on_gpu", "devices")).output or b"[]")
    assert device == "cpu"


@pytest.mark.parametrize(("device", "told"), [("cuda:7", "the last one is cuda:1"), ("mps", "for Macs")])
def test_a_device_that_is_not_there_is_refused_at_the_start(start_worker: Start, device: str, told: str) -> None:
    worker = start_worker("--device", device, app=MODELS, CUDA_VISIBLE_DEVICES="0,1")
    assert worker.process.wait(30) == 2
    assert told in worker.log.read_text()


async def test_a_model_is_warm_before_its_first_job_and_the_worker_says_how_long_that_took(start_worker: Start, caller: Caller) -> None:
    start_worker("--queues", "warm", app=MODELS)
    assert orjson.loads((await caller.run("warm", "warm")).output or b"") == ["load", "warmup"]
    assert orjson.loads((await caller.run("warm_async", "warm")).output or b"") is True
    await caller.ready("warm")
    seen = await announced(caller, "warm")
    assert seen["models"]["warm"]["warmup_s"] >= 0.05 > seen["models"]["warm"]["load_s"]
    assert all(runner["memory"] > 5_000_000 and runner["gpu_memory"] is None for runner in seen["runners"])


async def test_a_warm_up_that_fails_is_a_load_that_fails(start_worker: Start, caller: Caller) -> None:
    start_worker("--queues", "warm", app=MODELS, COLD="1")
    job_id = await caller.submit("warm", "warm")
    for _ in range(1200):
        workers, *_ = await caller.store.records.overview()
        if any(each["models"]["warm"]["state"] == "unhealthy" for each in map(orjson.loads, workers) if "warm" in each.get("models", {})):
            break
        await asyncio.sleep(0.1)
    entry = (await announced(caller, "warm"))["models"]["warm"]
    assert (entry["state"], entry["ready"]) == ("unhealthy", 0)
    assert entry["last_failure"]
    assert (await caller.read(job_id)).status == "queued"
