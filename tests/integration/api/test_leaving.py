"""`cancel_on_disconnect`, over a real socket: a caller that goes away takes its job with it; nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import API, PlayedWorker, app_of, listening
from tests.integration.api.test_stopping import serving

from longrun.settings import Settings
from longrun.store.store import Store

Submit = Callable[..., Any]
WAYS: dict[str, dict[str, str]] = {"wait": {"Prefer": "wait=30"}, "stream": {"Accept": "text/event-stream"}}


async def send(port: int, body: dict[str, Any], headers: dict[str, str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a submit and leave the connection open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    lines = [f"POST {API}/models/echo/jobs HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {len(data)}"]
    head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())])
    writer.write(head.encode() + b"\r\n\r\n" + data)
    await writer.drain()
    return reader, writer


async def leave(writer: asyncio.StreamWriter) -> None:
    """Close the connection."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def the_job(store: Store, *, timeout: float = 60) -> Any:
    """The only job, as soon as it is stored."""
    end = time.monotonic() + timeout
    while True:
        page = await store.records.list("default", cursor=None, look_at=10, since=0, filters=[])
        if page.jobs:
            (job,) = page.jobs
            return job
        assert time.monotonic() < end, "there is no job"
        await asyncio.sleep(0.02)


async def until_ended(store: Store, job_id: str, timeout: float = 60) -> Any:
    end = time.monotonic() + timeout
    while not (job := await store.records.read(job_id, "default")).terminal:
        assert time.monotonic() < end, f"the job is still {job.status}"
        await asyncio.sleep(0.02)
    return job


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("running", [False, True])
async def test_the_job_of_a_caller_that_goes_away_is_canceled(
    settings: Settings, store: Store, worker: PlayedWorker, way: str, running: bool
) -> None:
    async with listening(app_of(settings)) as port:
        _, writer = await send(port, {"input": {"value": 1}, "cancel_on_disconnect": True}, WAYS[way])
        job = await the_job(store)
        if running:
            await worker.claim(job.id)
        await asyncio.sleep(0.3)
        assert (await store.records.read(job.id, "default")).status.value == ("running" if running else "queued")
        await leave(writer)
        if not running:
            assert (await until_ended(store, job.id)).status.value == "canceled"
            return
        end = time.monotonic() + 60
        while (await store.records.read(job.id, "default")).status.value != "canceling":
            assert time.monotonic() < end
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("way", WAYS)
async def test_without_it_the_job_goes_on(settings: Settings, store: Store, way: str) -> None:
    async with listening(app_of(settings)) as port:
        _, writer = await send(port, {"input": {"value": 1}}, WAYS[way])
        job = await the_job(store)
        await leave(writer)
        await asyncio.sleep(0.7)
        assert (await store.records.read(job.id, "default")).status.value == "queued"


async def test_a_wait_that_is_over_cancels_nothing(settings: Settings, store: Store) -> None:
    async with listening(app_of(settings)) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        body = {"input": {"value": 1}, "cancel_on_disconnect": True}
        answer = await client.post(f"{API}/models/echo/jobs", json=body, headers={"Prefer": "wait=1"})
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    await asyncio.sleep(0.3)
    assert (await store.records.read(answer.json()["id"], "default")).status.value == "queued"


async def test_a_caller_that_does_not_wait_may_go(settings: Settings, store: Store) -> None:
    async with listening(app_of(settings)) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            answer = await client.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}, "cancel_on_disconnect": True})
        assert answer.status_code == 202
        await asyncio.sleep(0.3)
        assert (await store.records.read(answer.json()["id"], "default")).status.value == "queued"


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_stops_cancels_nothing(settings: Settings, store: Store, way: str) -> None:
    async with serving(settings) as served:
        port = int(served.url.rpartition(":")[2])
        reader, writer = await send(port, {"input": {"value": 1}, "cancel_on_disconnect": True}, WAYS[way])
        job = await the_job(store)
        await asyncio.sleep(0.3)
        served.tell()
        served.tell()
        await served.ended()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        await leave(writer)
    assert (await store.records.read(job.id, "default")).status.value == "queued"


async def test_a_caller_that_reads_to_the_end_gets_the_end(settings: Settings, store: Store, worker: PlayedWorker) -> None:
    async with listening(app_of(settings)) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        body = {"input": {"value": 1}, "cancel_on_disconnect": True}
        waiting = asyncio.create_task(client.post(f"{API}/models/echo/jobs", json=body, headers={"Prefer": "wait=30"}))
        job = await the_job(store)
        await worker.succeed(job.id)
        answer = await waiting
        assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


async def test_races_of_cancel_against_completion_are_told_alike_by_poll_stream_and_result(
    settings: Settings, store: Store, worker: PlayedWorker
) -> None:
    """A few dozen over HTTP; the thousand are in tests/integration/store/test_cancel_races.py."""
    rng = random.Random(28)
    async with listening(app_of(settings)) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        async def race() -> str:
            job = (await client.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}})).json()
            urls = job["urls"]
            claim = await worker.claim(job["id"])

            async def complete() -> None:
                await asyncio.sleep(rng.random() * 0.05)
                await store.claims.finish(job["id"], claim.fence, rng.choice(["succeeded", "canceled"]), b'{"code":"canceled"}')

            async def cancel() -> dict[str, Any]:
                await asyncio.sleep(rng.random() * 0.05)
                body: dict[str, Any] = (await client.post(urls["cancel"])).json()
                return body

            async def polled() -> dict[str, Any]:
                body: dict[str, Any] = (await client.get(urls["self"], headers={"Prefer": "wait=30"})).json()
                return body

            stream, poll, canceled, _ = await asyncio.gather(client.get(urls["events"]), polled(), cancel(), complete())
            done = json.loads(stream.text.strip().rpartition("data: ")[2])["data"]
            result = await client.get(urls["result"])
            assert poll["terminal"] and done == poll == (await client.get(urls["self"])).json()
            assert result.status_code == (200 if poll["status"] == "succeeded" else 424)
            assert canceled["status"] in ("canceling", poll["status"])
            assert stream.text.count('"type":"done"') == 1
            status: str = poll["status"]
            return status

        ends: list[str] = []
        for _ in range(6):
            ends += await asyncio.gather(*[race() for _ in range(8)])
    assert set(ends) == {"succeeded", "canceled"}


async def test_callers_that_go_away_in_any_way_leave_no_task_and_no_subscription(settings: Settings, store: Store, submit: Submit) -> None:
    job, dice = await submit(), random.Random(3)
    path = job["urls"]["self"]
    waits = [f"{path} HTTP/1.1\r\nPrefer: wait=60", f'{path} HTTP/1.1\r\nPrefer: wait=60\r\nIf-None-Match: "1"', f"{path}/events HTTP/1.1"]
    async with listening(app_of(settings)) as port:
        before = asyncio.all_tasks()
        for _ in range(100):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {dice.choice(waits)}\r\nHost: localhost\r\n\r\n".encode())
            if dice.random() < 0.5:
                await asyncio.sleep(dice.uniform(0, 0.02))
            if dice.random() < 0.5:
                writer.transport.abort()
            await leave(writer)
        end = time.monotonic() + 60
        # Those that stay: the follower's, and the server's own.
        while len(left := asyncio.all_tasks() - before) > 2 or (await listeners(store, job["id"])) > 0:
            assert time.monotonic() < end, left
            await asyncio.sleep(0.05)


async def listeners(store: Store, job_id: str) -> int:
    """How many processes listen to the job."""
    _, number = await store.connection.command("PUBSUB", "NUMSUB", store.job_channel(job_id))
    return int(number)
