"""Jobs in Longrun's store, put there and watched without its API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson

from bench.children import Child
from bench.dialects import TEXT
from bench.errors import CheckError
from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.jobs.record import JobRecord
from longrun.jobs.states import Status
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.records import NewJob
from longrun.store.store import Store

LIMIT = 180.0  # seconds for workers to empty their queue
TENANT = "default"
AT_ONCE = 500


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """The store, which takes more waiting jobs than it does by default."""
    store = Store(url, Settings(max_queued=100_000_000), ticket_template(), timeout=30)
    try:
        yield store
    finally:
        await store.close()


async def submit(store: Store, count: int, *, model: str = "noop", data: object = None) -> list[str]:
    """Submit jobs, many at once; their ids. `data` is their input, by default the no-op's."""
    ids = [new_job_id() for _ in range(count)]
    body, policy = orjson.dumps({"text": TEXT} if data is None else data), Policy().to_json()
    for some in pieces(ids):
        await asyncio.gather(*(store.records.submit(NewJob(job_id, TENANT, model, "default", 5, body, policy)) for job_id in some))
    return ids


async def fill(url: str, count: int, *, model: str = "noop", data: object = None) -> list[str]:
    """The same with a store of its own."""
    async with open_store(url) as store:
        return await submit(store, count, model=model, data=data)


async def watch(url: str, ids: list[str], workers: Sequence[Child], model: str = "noop") -> tuple[float, float]:
    """Wait until all have succeeded: seconds (since 1970) of the first start and the last end, by their records.

    Raises:
        CheckError: not every job succeeded at its first attempt, a worker ended, or it took too long.
    """
    async with open_store(url) as store:
        give_up = time.monotonic() + LIMIT
        while (await store.records.overview())[1].get(f"{model}:succeeded", 0) < len(ids):
            for worker in workers:
                worker.check()
            if time.monotonic() > give_up:
                raise CheckError(f"Longrun did not empty its queue within {LIMIT:g} s:\n{workers[0].tail()}")
            await asyncio.sleep(0.1)
        records: list[JobRecord] = []
        for some in pieces(ids):
            records += await asyncio.gather(*(store.records.read(job_id, TENANT) for job_id in some))
    if any(record.status is not Status.SUCCEEDED or record.attempt != 1 for record in records):
        raise CheckError("not every job succeeded at its first attempt")
    started = min(record.started for record in records if record.started is not None)
    finished = max(record.finished for record in records if record.finished is not None)
    return started / 1000, finished / 1000


def pieces(ids: list[str]) -> list[list[str]]:
    """Cut."""
    return [ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE)]
