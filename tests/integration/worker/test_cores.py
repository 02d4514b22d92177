"""With how many threads the libraries in a runner compute."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from tests.integration.worker.conftest import Caller, Worker
from tests.integration.worker.models_that_compute import NAMES

from longrun.worker.supervise.cores import find_cores

MODELS = Path(__file__).with_name("models_that_compute.py")
Start = Callable[..., Worker]
CORES = find_cores()
SHARE = max(1, CORES.usable // 2)
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or CORES.usable < 2 or CORES.usable < CORES.seen, reason="needs two cores, and no CPU quota"
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


async def seen(caller: Caller, model: str, jobs: int = 1) -> tuple[set[int], dict[str, str | None], int, str]:
    """Runners, their variables at the start, the threads of NumPy, and what a child sees: the same in all runners."""
    done = await asyncio.gather(*[caller.run(model, "cores") for _ in range(jobs)])
    outputs = [orjson.loads(job.output or b"[]") for job in done]
    (facts,) = {orjson.dumps(rest) for _, *rest in outputs}
    return {pid for pid, *_ in outputs}, *orjson.loads(facts)


async def loaded(caller: Caller, model: str, runners: int) -> None:
    """Wait until all runners of a model take jobs."""
    for _ in range(1200):
        workers, *_ = await caller.store.records.overview()
        if any(entry["models"].get(model, {}).get("ready") == runners for entry in map(orjson.loads, workers)):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"no worker has {runners} runners of {model}")


async def threads_shown(caller: Caller) -> dict[str, set[int]]:
    """What `/workers` shows, by model."""
    workers, *_ = await caller.store.records.overview()
    shown: dict[str, set[int]] = {}
    for runner in [runner for entry in map(orjson.loads, workers) for runner in entry.get("runners", [])]:
        shown.setdefault(runner["models"][0], set()).add(runner["threads"])
    return shown


async def test_two_runners_of_a_model_have_half_the_cores_each_and_one_has_all(start_worker: Start, caller: Caller) -> None:
    start_worker(app=MODELS, models="Computes,Shared,Asks")
    await loaded(caller, "shared", 2)
    runners, variables, blas, child = await seen(caller, "shared", jobs=6)
    assert len(runners) == 2
    assert (variables, blas, child) == (dict.fromkeys(NAMES, str(SHARE)), SHARE, str(SHARE))

    _, variables, blas, child = await seen(caller, "computes")
    assert (variables, blas, child) == (dict.fromkeys(NAMES), CORES.usable, "None"), "libraries count the cores as ever"

    _, variables, _, child = await seen(caller, "asks")
    assert (variables, child) == (dict.fromkeys(NAMES, "3"), "3")

    assert await threads_shown(caller) == {"computes": {CORES.usable}, "shared": {SHARE}, "asks": {3}}


async def test_what_the_operator_has_set_goes_before_a_share_and_not_before_what_the_author_asks_for(
    start_worker: Start, caller: Caller
) -> None:
    start_worker(app=MODELS, models="Shared,Asks", OMP_NUM_THREADS="7")
    _, variables, *_ = await seen(caller, "shared")
    assert variables == dict.fromkeys(NAMES) | {
        "OMP_NUM_THREADS": "7",
        "RAYON_NUM_THREADS": str(SHARE),
        "POLARS_MAX_THREADS": str(SHARE),
    }
    _, variables, *_ = await seen(caller, "asks")
    assert variables == dict.fromkeys(NAMES, "3")
    assert await threads_shown(caller) == {"shared": {7}, "asks": {3}}


async def test_the_setting_goes_before_everything(start_worker: Start, caller: Caller) -> None:
    start_worker(app=MODELS, models="Shared,Asks", OMP_NUM_THREADS="7", LONGRUN_THREADS="1")
    for model in ("shared", "asks"):
        _, variables, blas, _ = await seen(caller, model)
        assert (variables, blas) == (dict.fromkeys(NAMES, "1"), 1)


async def test_a_worker_that_is_kept_to_one_core_shares_that_one(start_worker: Start, caller: Caller) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        start_worker(app=MODELS, models="Shared")
    finally:
        os.sched_setaffinity(0, allowed)
    _, variables, blas, _ = await seen(caller, "shared")
    assert blas == 1, variables
    assert await threads_shown(caller) == {"shared": {1}}
