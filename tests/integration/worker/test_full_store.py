"""A store without memory: what was accepted goes on, large outputs wait, and all is stored when there is room again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.worker.conftest import Caller, Worker

from longrun.embedded import EmbeddedValkey
from longrun.errors import StorageFull
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store


@pytest.fixture
def own_settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings on a server that this test may fill."""
    with EmbeddedValkey(tmp_path / "data") as server:
        yield Settings(prefix="full:", redis_url=server.start(), lease=2, heartbeat=0.5, grace=1)


async def test_small_outcomes_are_stored_large_ones_wait_and_nothing_runs_twice(own_settings: Settings, tmp_path: Path) -> None:
    worker = Worker(own_settings, tmp_path / "worker.log", models="shout")
    store = Store(own_settings.redis_url, own_settings, ticket_template())
    try:
        caller = Caller(store)
        await caller.ready("shout")
        small = [await caller.submit("shout", text=f"n{n}", seconds=1.0) for n in range(5)]
        large = [await caller.submit("shout", text="n" * 10_000, seconds=1.0) for n in range(2)]
        for job_id in small + large:
            await caller.until(job_id, "running")
        await store.connection.command("CONFIG", "SET", "maxmemory", "1mb")
        with pytest.raises(StorageFull):
            await caller.submit("shout", text="late")
        jobs = [await caller.end(job_id) for job_id in small]
        await asyncio.sleep(own_settings.lease + 1)
        assert {(await caller.read(job_id)).status.value for job_id in large} == {"running"}
        await store.connection.command("CONFIG", "SET", "maxmemory", "0")
        jobs += [await caller.end(job_id) for job_id in large]
        wanted = [b'"N%d"' % n for n in range(5)] + [b'"' + b"N" * 10_000 + b'"'] * 2
        assert [(job.status.value, job.attempt, job.output) for job in jobs] == [("succeeded", 1, output) for output in wanted]
        assert worker.process.poll() is None
    finally:
        await store.close()
        worker.stop()


async def test_a_worker_that_starts_while_the_store_is_full_runs_what_waits(own_settings: Settings, tmp_path: Path) -> None:
    store = Store(own_settings.redis_url, own_settings, ticket_template())
    caller = Caller(store)
    ids = [await caller.submit("shout", text=f"n{n}", seconds=0.0) for n in range(5)]
    await store.connection.command("CONFIG", "SET", "maxmemory", "1mb")
    worker = Worker(own_settings, tmp_path / "worker.log", models="shout")
    try:
        for job_id in ids:
            assert (await caller.end(job_id, timeout=60)).status == "succeeded"
        assert worker.process.poll() is None
    finally:
        await store.close()
        worker.stop()
