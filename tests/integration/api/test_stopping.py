"""What callers notice when the API is told to stop: nothing that they could not go on from."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.failing_steps import failing_step
from tests.integration.api.conftest import API, PlayedWorker, app_of, listening

from longrun.api.http.protocol import HttpProtocol
from longrun.api.resources import Resources
from longrun.api.server import ApiServer
from longrun.blobs.folder import Folder
from longrun.service.parts import Parts
from longrun.service.storage_health import StorageHealth
from longrun.settings import Settings
from longrun.store.connection import Connection
from longrun.store.follow import Follower
from longrun.store.store import Store

Submit = Callable[..., Any]


class Served:
    """An `ApiServer` on a free port of loopback, and a caller of it."""

    def __init__(self, settings: Settings, sock: socket.socket, drain: float) -> None:
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self._server = ApiServer(app_of(settings), drain=drain, patience=600)
        self.running = asyncio.create_task(self._server.serve(sockets=[sock]))
        self.caller = httpx.AsyncClient(base_url=self.url, timeout=60)

    async def started(self) -> None:
        while not self._server.started:
            assert not self.running.done(), "the server did not start"
            await asyncio.sleep(0.01)

    def tell(self) -> None:
        """What the process does when it gets SIGTERM."""
        self._server.handle_exit(signal.SIGTERM, None)

    async def ended(self) -> None:
        await asyncio.wait_for(asyncio.shield(self.running), 60)


@contextlib.asynccontextmanager
async def serving(settings: Settings, drain: float = 0.0) -> AsyncIterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        served = Served(settings, sock, drain)
        await served.started()
        async with served.caller:
            try:
                yield served
            finally:
                served.tell()
                served.tell()
                await served.running


async def test_while_it_drains_it_serves_as_before_but_says_so_to_balancers(settings: Settings, submit: Submit) -> None:
    job = await submit()
    async with serving(settings, drain=30) as served:
        assert (await served.caller.get("/readyz")).status_code == 200
        served.tell()
        answer = await served.caller.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "checks": {"api": "stopping"}})
        assert (await served.caller.get("/livez")).status_code == 200
        made = await served.caller.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}})
        assert (made.status_code, made.headers["connection"]) == (202, "close")
        async with served.caller.stream("GET", job["urls"]["events"]) as stream:
            assert (stream.status_code, stream.headers["connection"]) == (200, "close")
        assert not served.running.done()


async def test_when_it_has_drained_nobody_can_connect_and_it_ends(settings: Settings) -> None:
    async with serving(settings, drain=0.5) as served:
        served.tell()
        told = time.monotonic()
        assert (await served.caller.get("/livez")).status_code == 200
        await served.ended()
        assert time.monotonic() - told >= 0.5
        with pytest.raises(httpx.ConnectError):
            await served.caller.get("/livez")


async def test_a_stream_ends_whole_and_goes_on_elsewhere(settings: Settings, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit({"prompt": "x"}, "story")
    claim = await worker.claim(job["id"])
    await worker.append(claim, 0, ("output", {"value": "first"}))
    async with serving(settings) as served:
        async with served.caller.stream("GET", job["urls"]["events"]) as stream:
            lines = stream.aiter_lines()
            text = ""
            while '"first"' not in text:
                text += await anext(lines) + "\n"
            served.tell()
            # A stream that is cut raises here: its last chunk is missing.
            text += "\n".join([line async for line in lines])
        assert text.startswith("retry: 2000\nid: 1\n")
        assert [line for line in text.splitlines() if line.startswith("id:")] == ["id: 1", "id: 2", "id: 3"]
        await served.ended()
    await worker.store.claims.finish(job["id"], "1/n", "succeeded", b'"first"')
    async with serving(settings) as served:
        rest = await served.caller.get(job["urls"]["events"], headers={"Last-Event-ID": "3"})
    assert "id: 4\n" in rest.text and '"done"' in rest.text and "id: 3\n" not in rest.text


async def test_a_waiting_request_is_answered_with_the_job_as_it_is(settings: Settings, submit: Submit) -> None:
    job = await submit()
    async with serving(settings) as served:
        reading = asyncio.create_task(served.caller.get(job["urls"]["self"], headers={"Prefer": "wait=60"}))
        body = {"input": {"value": 1}}
        submitting = asyncio.create_task(served.caller.post(f"{API}/models/echo/jobs", json=body, headers={"Prefer": "wait=60"}))
        await asyncio.sleep(0.5)
        assert not reading.done() and not submitting.done()
        served.tell()
        read, submitted = await asyncio.wait_for(asyncio.gather(reading, submitting), 40)
        assert (read.status_code, read.json()["status"]) == (200, "queued")
        assert (submitted.status_code, submitted.json()["status"]) == (202, "queued")
        await served.ended()


async def test_a_second_signal_does_not_wait_for_anybody(settings: Settings, submit: Submit) -> None:
    job = await submit()
    async with serving(settings, drain=30) as served, served.caller.stream("GET", job["urls"]["events"]) as stream:
        served.tell()
        await asyncio.sleep(0.3)
        assert not served.running.done()
        served.tell()
        await served.ended()
        with pytest.raises(httpx.RemoteProtocolError):
            await stream.aread()


async def test_a_stream_of_a_mounted_app_ends_whole_when_the_server_around_it_stops(settings: Settings, submit: Submit) -> None:
    job = await submit()
    outer, inner = FastAPI(), app_of(settings)
    outer.mount("/ai", inner)
    async with httpx.AsyncClient(timeout=60) as caller:
        async with listening(outer, patience=600) as port:
            opened = asyncio.Event()

            async def read() -> str:
                text = ""
                async with caller.stream("GET", f"http://127.0.0.1:{port}/ai{job['urls']['events']}") as stream:
                    async for line in stream.aiter_lines():
                        text += line + "\n"
                        opened.set()
                return text

            reading = asyncio.create_task(read())
            await opened.wait()
        assert "id: 1\n" in await asyncio.wait_for(reading, 60)
    await inner.state.longrun.close()  # nobody runs the lifespan of an app that is mounted without it


#: What is called when the API stops, in this order.
STEPS = [
    (HttpProtocol, "shutdown"),
    (ApiServer, "_wait_for_answers"),
    (ApiServer, "_cut"),
    (ApiServer, "_cancel_tasks"),
    (ApiServer, "_close_app"),
    (Resources, "close"),
    (Parts, "close"),
    (StorageHealth, "close"),
    (Store, "close"),
    (Follower, "close"),
    (Connection, "close"),
    (Folder, "close"),
    (ApiServer, "_stop_cutting"),
]


@pytest.mark.parametrize("failing", range(len(STEPS)), ids=[f"{kind.__name__}.{name}" for kind, name in STEPS])
async def test_a_step_that_fails_keeps_no_other_from_being_taken(
    failing: int, settings: Settings, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await submit()
    taken: list[int] = []
    async with serving(settings) as served:
        reading = asyncio.create_task(served.caller.get(job["urls"]["self"], headers={"Prefer": "wait=60"}))
        # Closed first: connections are looked at in no order, so the waiting one would be the first to fail in half of the runs.
        idle = [await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2])) for _ in range(3)]
        await asyncio.sleep(0.3)
        for number, (kind, name) in enumerate(STEPS):
            monkeypatch.setattr(kind, name, failing_step(number, getattr(kind, name), taken, failing))
        served.tell()
        await served.ended()
        with contextlib.suppress(httpx.RemoteProtocolError):  # only the connection whose own step failed is cut
            assert (await reading).json()["status"] == "queued"
        for _, writer in idle:
            writer.close()
    assert set(taken) == set(range(len(STEPS)))
