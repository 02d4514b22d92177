"""No job waits in a worker behind a long one while another worker has room, whatever the worker has learnt about the model before."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from tests.integration.worker.conftest import Caller

from longrun.store.store import Store


async def workers_of(store: Store, ids: list[str]) -> list[str]:
    return [(await store.records.attempts(job_id, "t"))[-1].worker for job_id in ids]


async def both_ready(caller: Caller) -> None:
    for _ in range(1200):
        workers, *_ = await caller.store.records.overview()
        if [orjson.loads(worker)["models"]["sleeper"]["state"] for worker in workers] == ["ready"] * 2:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("two workers are not ready")


async def given_back(caller: Caller, job_id: str) -> None:
    for _ in range(3000):
        job = await caller.read(job_id)
        if (job.status.value, job.attempt) == ("queued", 1):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{job_id} is {job.status} in attempt {job.attempt}")


async def test_of_two_busy_workers_the_one_that_is_free_first_takes_all_short_jobs(start_worker: Any, caller: Caller) -> None:
    start_worker("--name", "one@here", models="Sleeper")
    start_worker("--name", "two@here", models="Sleeper")
    await both_ready(caller)
    long = await caller.submit("sleeper", seconds=1000)
    await caller.until(long, "running")
    longish = await caller.submit("sleeper", seconds=1)
    await caller.until(longish, "running")
    short = [await caller.submit("sleeper", seconds=0.05) for _ in range(4)]
    for job_id in short:
        await caller.end(job_id)
    assert (await caller.read(long)).status == "running"
    busy, free = await workers_of(caller.store, [long, longish])
    assert busy != free
    assert await workers_of(caller.store, short) == [free] * 4


async def test_jobs_sent_ahead_of_a_long_one_nobody_expected_come_back(start_worker: Any, caller: Caller) -> None:
    """A hundred short jobs teach the worker to send many ahead. Then comes a long one, with others close behind it."""
    start_worker("--name", "one@here", models="Sleeper")
    await caller.ready("sleeper")
    for job_id in [await caller.submit("sleeper", seconds=0) for _ in range(100)]:
        await caller.end(job_id)
    ids = [await caller.submit("sleeper", seconds=seconds) for seconds in (1000, 0.05, 0.05, 0.05, 0.05)]
    await caller.until(ids[0], "running")
    for job_id in ids[1:]:
        await given_back(caller, job_id)
    start_worker("--name", "two@here", models="Sleeper")
    ended = [await caller.end(job_id) for job_id in ids[1:]]
    assert [(job.status.value, job.errors) for job in ended] == [("succeeded", 0)] * 4
    assert await workers_of(caller.store, ids[1:]) == ["two@here"] * 4
    assert (await caller.read(ids[0])).status == "running"
