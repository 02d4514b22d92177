"""A store without memory: what a worker has in hand waits, and is stored when there is room again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.worker.conftest import Caller, Worker

from longrun.embedded import EmbeddedValkey
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store


@pytest.fixture
def own_settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings on a server that this test may fill."""
    with EmbeddedValkey(tmp_path / "data") as server:
        yield Settings(prefix="full:", redis_url=server.start(), lease=2, heartbeat=0.5, grace=1)


async def test_outcomes_wait_while_the_store_is_full_and_nothing_runs_twice(own_settings: Settings, tmp_path: Path) -> None:
    worker = Worker(own_settings, tmp_path / "worker.log")
    store = Store(own_settings.redis_url, own_settings, ticket_template())
    try:
        caller = Caller(store)
        await caller.ready("shout")
        ids = [await caller.submit("shout", text=f"n{n}", seconds=1.0) for n in range(5)]
        for job_id in ids:
            await caller.until(job_id, "running")
        await store.connection.command("CONFIG", "SET", "maxmemory", "1mb")
        await asyncio.sleep(2.5)  # the runs end meanwhile
        assert {(await caller.read(job_id)).status.value for job_id in ids} == {"running"}
        await store.connection.command("CONFIG", "SET", "maxmemory", "0")
        jobs = [await caller.end(job_id) for job_id in ids]
        assert [(job.status.value, job.attempt, job.output) for job in jobs] == [("succeeded", 1, b'"N%d"' % n) for n in range(5)]
        assert worker.process.poll() is None
    finally:
        await store.close()
        worker.stop()
