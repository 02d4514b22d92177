"""Readers that are slow, and readers that take nothing at all."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import psutil
import pytest
from tests.integration.api.conftest import PlayedWorker
from tests.integration.api.test_stopping import Served, serving

from longrun.api.http.write_timeout import WriteTimeout
from longrun.settings import Settings

Submit = Callable[..., Any]
SEQ = re.compile(rb"id: (\d+)\n")
MB = 1024 * 1024


async def talkative(submit: Submit, worker: PlayedWorker, megabytes: int) -> dict[str, Any]:
    """A running job with a long log of events of 4 KB."""
    job: dict[str, Any] = await submit({"prompt": "x"}, "story")
    claim = await worker.claim(job["id"])
    for first in range(0, 256 * megabytes, 64):
        await worker.append(claim, first, *[("output", {"value": "x" * 4000})] * 64)
    return job


def ask(port: int, path: str) -> socket.socket:
    """A connection with a small buffer that has asked for a stream, and has read nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
    connection.setblocking(False)
    return connection


async def listeners(worker: PlayedWorker, job: dict[str, Any]) -> int:
    _, count = await worker.store.connection.command("PUBSUB", "NUMSUB", worker.store.job_channel(job["id"]))
    return int(count)


async def until(ready: Callable[[], Any], timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not await ready():
        assert time.monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.05)


@pytest.fixture
async def impatient(settings: Settings) -> AsyncIterator[Served]:
    """A server that cuts readers off which take nothing for two seconds."""
    async with serving(settings) as served:
        served._server._write_timeout = WriteTimeout(patience=2)
        yield served


def port_of(served: Served) -> int:
    return int(served.url.rpartition(":")[2])


async def test_a_reader_that_takes_nothing_is_cut_off_and_goes_on_later(impatient: Served, submit: Submit, worker: PlayedWorker) -> None:
    job = await talkative(submit, worker, 2)
    began = time.monotonic()
    dead = ask(port_of(impatient), job["urls"]["events"])

    async def has_gone() -> bool:
        return await listeners(worker, job) == 0

    await asyncio.sleep(0.5)
    assert not await has_gone()
    await until(has_gone)
    assert time.monotonic() - began >= 2
    loop, seen = asyncio.get_running_loop(), b""
    while data := await loop.sock_recv(dead, 65536):
        seen += data
    dead.close()
    last = int(SEQ.findall(seen)[-1])
    assert last < 100
    page = await impatient.caller.get(job["urls"]["events"], headers={"Last-Event-ID": str(last), "Accept": "application/json"})
    assert page.json()["events"][0]["seq"] == last + 1


async def test_a_reader_that_takes_nothing_does_not_hold_up_a_stop(
    settings: Settings, submit: Submit, worker: PlayedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longrun.api.server._STOP_PATIENCE", 1.0)
    job = await talkative(submit, worker, 2)
    async with serving(settings) as served:
        dead = ask(port_of(served), job["urls"]["events"])
        await until(lambda: _is(listeners(worker, job), 1))
        await asyncio.sleep(0.5)
        served.tell()
        await served.ended()  # open requests may take ten minutes
        dead.close()


async def test_a_reader_that_is_slow_gets_everything(impatient: Served, submit: Submit, worker: PlayedWorker) -> None:
    job = await talkative(submit, worker, 1)
    await worker.store.claims.finish(job["id"], "1/n", "succeeded", b'"x"')
    slow = ask(port_of(impatient), job["urls"]["events"])
    loop, seen, began = asyncio.get_running_loop(), b"", time.monotonic()
    while b'"type":"done"' not in seen:
        data = await asyncio.wait_for(loop.sock_recv(slow, 65536 if time.monotonic() - began > 7 else 2000), 5)
        assert data, "it was cut off"
        seen += data
        await asyncio.sleep(0 if time.monotonic() - began > 7 else 0.1)
    slow.close()
    assert [int(seq) for seq in SEQ.findall(seen)] == list(range(1, 260))


async def test_readers_that_take_nothing_cost_little_and_harm_nobody(
    settings: Settings, submit: Submit, worker: PlayedWorker, unused_port: int
) -> None:
    job = await talkative(submit, worker, 5)
    env = {**os.environ, "LONGRUN_REDIS_URL": settings.redis_url, "LONGRUN_PREFIX": settings.prefix, "LONGRUN_LOG_LEVEL": "warning"}
    command = [sys.executable, "-m", "longrun", "api", "tests/integration/api/served.py", "--port", str(unused_port)]
    api = await asyncio.create_subprocess_exec(*command, env=env)
    dead: list[socket.socket] = []
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{unused_port}", timeout=20) as caller:

            async def answers() -> bool:
                try:
                    return (await caller.get(job["urls"]["self"])).status_code == 200
                except httpx.TransportError:
                    return False

            await until(answers)
            await caller.get(f"{job['urls']['events']}?after=1000", headers={"Accept": "application/json"})
            before = psutil.Process(api.pid).memory_info().rss
            dead += [ask(unused_port, job["urls"]["events"]) for _ in range(50)]
            await until(lambda: _is(listeners(worker, job), 1))
            await asyncio.sleep(1)
            async with caller.stream("GET", f"{job['urls']['events']}?after=1200&types=output") as stream:
                text = ""
                async for line in stream.aiter_lines():
                    text += line
                    if '"seq":1282' in line:
                        break
            grown = psutil.Process(api.pid).memory_info().rss - before
            assert grown < 25 * MB, f"{grown / MB:.1f} MB for 50 readers that take nothing of 5 MB each"
    finally:
        for each in dead:
            each.close()
        api.terminate()
        await api.wait()


async def _is(counting: Any, number: int) -> bool:
    return bool(await counting == number)


@pytest.fixture
def unused_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def test_all_readers_of_a_process_share_one_connection_to_the_store(settings: Settings, submit: Submit, worker: PlayedWorker) -> None:
    async def subscribers() -> int:
        text = (await worker.store.connection.command("CLIENT", "LIST", "TYPE", "pubsub")).decode()
        return len(text.splitlines())

    jobs = [await submit() for _ in range(20)]
    before = await subscribers()
    async with serving(settings) as served:
        readers = [ask(port_of(served), job["urls"]["events"]) for job in jobs for _ in range(10)]
        for job in jobs:
            await until(lambda job=job: _is(listeners(worker, job), 1))  # type: ignore[misc]
        assert await subscribers() == before + 1
        for reader in readers:
            reader.close()
