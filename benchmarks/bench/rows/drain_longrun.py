"""How fast one Longrun worker empties its queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from bench.children import Child
from bench.dialects import TEXT
from bench.errors import CheckError
from bench.stage import Stage
from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.jobs.record import JobRecord
from longrun.jobs.states import Status
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.records import NewJob
from longrun.store.store import Store

LIMIT = 180.0  # seconds for the worker to empty its queue
TENANT = "default"
AT_ONCE = 500


def rate(count: int) -> float:
    """Jobs a second from the first job's start to the last job's end, by the times in their records."""
    with Stage() as stage:
        url = stage.valkey()
        ids = asyncio.run(_fill(url, count))
        worker = stage.longrun_worker(url)
        return asyncio.run(_watch(url, ids, worker))


@asynccontextmanager
async def _store(url: str) -> AsyncIterator[Store]:
    store = Store(url, Settings(), ticket_template(), timeout=30)
    try:
        yield store
    finally:
        await store.close()


async def _fill(url: str, count: int) -> list[str]:
    ids = [new_job_id() for _ in range(count)]
    data, policy = orjson.dumps({"text": TEXT}), Policy().to_json()
    async with _store(url) as store:
        for some in _pieces(ids):
            await asyncio.gather(*(store.records.submit(NewJob(job_id, TENANT, "noop", "default", 5, data, policy)) for job_id in some))
    return ids


async def _watch(url: str, ids: list[str], worker: Child) -> float:
    async with _store(url) as store:
        give_up = time.monotonic() + LIMIT
        while (await store.records.overview())[1].get("noop:succeeded", 0) < len(ids):
            worker.check()
            if time.monotonic() > give_up:
                raise CheckError(f"the Longrun worker did not empty its queue within {LIMIT:g} s:\n{worker.tail()}")
            await asyncio.sleep(0.1)
        records: list[JobRecord] = []
        for some in _pieces(ids):
            records += await asyncio.gather(*(store.records.read(job_id, TENANT) for job_id in some))
    if any(record.status is not Status.SUCCEEDED or record.attempt != 1 for record in records):
        raise CheckError("not every job succeeded at its first attempt")
    started = min(record.started for record in records if record.started is not None)
    finished = max(record.finished for record in records if record.finished is not None)
    return len(ids) / ((finished - started) / 1000)


def _pieces(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE)]
