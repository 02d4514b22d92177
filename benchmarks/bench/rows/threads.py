"""Several runners of a model that computes: each with its share of the cores, and each with a thread for every core."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import orjson

from bench.children import Child
from bench.errors import CheckError
from bench.figures import Figure
from bench.longrun_jobs import fill, open_store, watch
from bench.machine import cores
from bench.plan import Plan, alternate
from bench.stage import HERE, Stage

RUNNERS = 4
MODEL = "layers"
READY_WITHIN = 120.0  # seconds: each runner reads PyTorch
NOTE = (
    "A transformer of the size of MiniLM in PyTorch, 8 texts of 64 tokens a job; jobs queued when all runners are ready, first start to "
    "last end by the records. The peer is what libraries do by themselves: `LONGRUN_THREADS` is the number of cores."
)


def measure(plan: Plan) -> list[Figure]:
    """Jobs a second."""
    share, everyone = max(1, cores() // RUNNERS), cores()
    sides: dict[str, Callable[[], float]] = {
        "share": lambda: _rate(plan.computed, {}),
        "all": lambda: _rate(plan.computed, {"LONGRUN_THREADS": str(everyone)}),
    }
    values = alternate(plan.rounds, sides)
    what = f"{RUNNERS} runners on {everyone} cores, {share} thread{'s' * (share > 1)} each"
    return [Figure("threads", what, "1/s", f"{everyone} threads each", values["share"], values["all"], note=NOTE)]


def _rate(jobs: int, env: dict[str, str]) -> float:
    with Stage() as stage:
        url = stage.valkey()
        worker = stage.longrun_worker(url, str(HERE / "layers.py"), env | {"LONGRUN_PROCESSES": str(RUNNERS)})
        asyncio.run(_loaded(url, worker))
        ids = asyncio.run(fill(url, jobs, model=MODEL, data={}))
        started, finished = asyncio.run(watch(url, ids, [worker], MODEL))
        return jobs / (finished - started)


async def _loaded(url: str, worker: Child) -> None:
    """Wait until all runners take jobs."""
    give_up = time.monotonic() + READY_WITHIN
    async with open_store(url) as store:
        while True:
            workers, *_ = await store.records.overview()
            if any(entry["models"][MODEL]["ready"] == RUNNERS for entry in map(orjson.loads, workers) if "models" in entry):
                return
            worker.check()
            if time.monotonic() > give_up:
                raise CheckError(f"the runners have not loaded within {READY_WITHIN:g} s:\n{worker.tail()}")
            await asyncio.sleep(0.1)
