"""Many async jobs at once in one runner, and sync ones beside them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.integration.worker.conftest import Caller, Worker

MODELS = Path(__file__).with_name("models_on_devices.py")
Start = Callable[..., Worker]


@pytest.mark.parametrize("lease", [3])
@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.slow)])
async def test_all_wait_at_once_and_none_loses_its_lease(start_worker: Start, caller: Caller, count: int) -> None:
    worker = start_worker("--queues", "llm", app=MODELS)
    await caller.ready("ask")
    await asyncio.gather(*[caller.run("ask", "llm", seconds=0.01) for _ in range(50)])
    before = memory(worker)
    # More than one lease long, with a heartbeat each half a second.
    wait = 6.0 if count == 300 else 20.0
    ids = await asyncio.gather(*[caller.submit("ask", "llm", seconds=wait) for _ in range(count)])
    jobs = [await caller.until(job_id, "running", timeout=90) for job_id in ids]
    during = memory(worker)
    print(f"KB for each of {count} waiting jobs: worker and runners {(during - before) / count / 1024:.1f}", file=sys.stderr)
    jobs = [await caller.end(job_id, timeout=90) for job_id in ids]
    assert {(job.status.value, job.attempt) for job in jobs} == {("succeeded", 1)}
    # All at once, which shows in their own times: the last one had begun before the first one ended.
    assert max(job.started or 0 for job in jobs) < min(job.finished or 0 for job in jobs)
    # Far above what is measured (see docs/authoring.md), far below what a thread or process for each would take.
    assert (during - before) / count < 60_000


async def test_a_model_that_burns_a_core_holds_no_async_job_up(start_worker: Start, caller: Caller) -> None:
    start_worker("--queues", "llm", app=MODELS)
    await caller.ready("ask")
    await caller.ready("burn")
    burning = await caller.submit("burn", "llm", seconds=5.0)
    await caller.until(burning, "running")
    jobs = [await caller.run("ask", "llm", seconds=0.01) for _ in range(20)]
    assert {job.status.value for job in jobs} == {"succeeded"}
    assert (await caller.read(burning)).status == "running"


@pytest.mark.parametrize("lease", [3])
async def test_an_async_model_that_blocks_its_loop_keeps_its_leases(start_worker: Start, caller: Caller) -> None:
    start_worker("--queues", "llm", app=MODELS)
    await caller.ready("ask")
    # Two leases long nothing turns in the runner; what is beside it waits, and is neither lost nor run twice.
    waiting = [await caller.submit("ask", "llm", seconds=0.5) for _ in range(5)]
    blocking = await caller.submit("ask", "llm", seconds=0.0, block=6.0)
    jobs = [await caller.end(job_id) for job_id in [blocking, *waiting]]
    assert {(job.status.value, job.attempt) for job in jobs} == {("succeeded", 1)}


def memory(worker: Worker) -> int:
    """Bytes that the worker and its runners hold."""
    return sum(process.memory_info().rss for process in [psutil.Process(worker.process.pid), *worker.runners])
