"""The store stops answering: callers are told while it is away, and all works again when it is back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.integration.api.conftest import API, PlayedWorker, app_of, calling, listening
from tests.integration.api.test_events import read, types
from tests.integration.api.trees import ask

from longrun.embedded import EmbeddedValkey
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store

ECHO = f"{API}/models/echo/jobs"


@contextlib.contextmanager
def frozen(server: EmbeddedValkey):  # type: ignore[no-untyped-def]
    """A server that takes connections and answers nothing."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextlib.contextmanager
def killed(server: EmbeddedValkey):  # type: ignore[no-untyped-def]
    """A server that is gone, and comes back with its data."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    try:
        yield
    finally:
        server.start()


@pytest.fixture
def own_server(tmp_path: Path) -> EmbeddedValkey:
    """A server of this test alone."""
    return EmbeddedValkey(tmp_path / "data", durability="strict")


@pytest.fixture
async def own(own_server: EmbeddedValkey) -> AsyncIterator[Settings]:
    """Settings for it."""
    with own_server:
        yield Settings(redis_url=own_server.start(), lease=2, heartbeat=0.5, store_timeout=1)


@pytest.mark.parametrize("away", [frozen, killed])
async def test_callers_are_told_and_all_works_again_without_a_restart(own_server: EmbeddedValkey, own: Settings, away: object) -> None:
    async with calling(app_of(own)) as caller:
        job = (await caller.post(ECHO, json={"input": {"value": 1}})).json()
        with away(own_server):  # type: ignore[operator]
            submit, *reads = await asyncio.gather(
                caller.post(ECHO, json={"input": {"value": 2}}, headers={"Idempotency-Key": "k"}),
                caller.get(job["urls"]["self"]),
                caller.get(job["urls"]["self"], headers={"Prefer": "wait=30"}),
                caller.get(job["urls"]["result"]),
                caller.get(job["urls"]["events"]),
                caller.get(f"{API}/jobs"),
                caller.post(job["urls"]["cancel"]),
            )
            ready = await caller.get("/readyz")
            assert (await caller.get("/livez")).status_code == 200
        problem = submit.json()
        assert (submit.status_code, problem["code"], problem["retryable"]) == (503, "submit-unconfirmed", True)
        assert problem["job_id"].startswith("job_") and int(submit.headers["retry-after"]) >= 1
        for answer in reads:
            assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
            assert "retry-after" in answer.headers
        assert (ready.status_code, ready.json()["ready"]) == (503, False)

        again = await caller.post(ECHO, json={"input": {"value": 2}}, headers={"Idempotency-Key": "k"})
        assert again.status_code == 202
        assert len([1 for each in (await caller.get(f"{API}/jobs?status=queued")).json()["jobs"] if each["id"] == again.json()["id"]]) == 1
        assert (await caller.get(job["urls"]["self"])).status_code == 200
        assert (await caller.get("/readyz")).json()["ready"] is True


async def test_each_answer_comes_when_the_time_for_the_store_is_over(own_server: EmbeddedValkey, own: Settings) -> None:
    """No caller waits until the store is back."""
    async with calling(app_of(own)) as caller:
        await caller.get("/readyz")
        with frozen(own_server):
            for method, url in (("POST", ECHO), ("GET", f"{API}/jobs")):
                async with asyncio.timeout(60):
                    answer = await caller.request(method, url, json={"input": {"value": 1}})
                assert answer.status_code == 503


@pytest.mark.parametrize("away", [frozen, killed])
async def test_a_stream_stays_open_through_it_and_misses_nothing(own_server: EmbeddedValkey, own: Settings, away: object) -> None:
    store = Store(own.redis_url, own, ticket_template())
    async with listening(app_of(own)) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as remote:
        job = (await remote.post(ECHO, json={"input": {"value": 1}})).json()
        async with remote.stream("GET", job["urls"]["events"]) as stream:
            reading = asyncio.create_task(read(stream))
            await asyncio.sleep(0.3)
            with away(own_server):  # type: ignore[operator]
                await asyncio.sleep(1)
            await PlayedWorker(store).succeed(job["id"])
            assert types(await asyncio.wait_for(reading, 60)) == ["queued", "started", "done"]
    await store.close()


async def test_a_full_store_is_507_and_nothing_is_stored(own: Settings) -> None:
    store = Store(own.redis_url, own, ticket_template())
    async with calling(app_of(own)) as caller:
        await store.connection.command("CONFIG", "SET", "maxmemory", "1")
        answer = await caller.post(ECHO, json={"input": {"value": 1}})
        assert (answer.status_code, answer.json()["code"], "job_id" in answer.json()) == (507, "storage-full", False)
        await store.connection.command("CONFIG", "SET", "maxmemory", "0")
        assert (await caller.get(f"{API}/jobs")).json()["jobs"] == []
        assert (await caller.post(ECHO, json={"input": {"value": 1}})).status_code == 202
    await store.close()


async def test_a_small_answer_to_what_a_job_asks_gets_into_a_full_store_and_a_large_one_when_there_is_room(own: Settings) -> None:
    """Jobs that wait for people can end, or nothing would ever drain."""
    store = Store(own.redis_url, own, ticket_template())
    async with calling(app_of(own)) as caller:
        job_id = (await caller.post(ECHO, json={"input": {"value": 1}})).json()["id"]
        await ask(store, job_id, "small", "large", schema=True)
        await store.connection.command("CONFIG", "SET", "maxmemory", "1")
        signals, large = f"{API}/jobs/{job_id}/signals", "x" * 10_000
        assert {each["name"] for each in (await caller.get(f"{API}/jobs/{job_id}")).json()["asks"]} == {"small", "large"}
        refused = await caller.post(f"{signals}/large", json=large)
        assert (refused.status_code, refused.json()["code"]) == (507, "storage-full")
        assert (await caller.post(f"{signals}/small", json=1)).status_code == 200
        await store.connection.command("CONFIG", "SET", "maxmemory", "0")
        assert (await caller.post(f"{signals}/large", json=large)).status_code == 200
    await store.close()
