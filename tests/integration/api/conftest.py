"""The app over a real Valkey, callers, and a worker that the tests play."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import structlog
import uvicorn
from fastapi import FastAPI
from tests.integration.api.served import served

from longrun.api.app import build_app
from longrun.blobs.folder import Folder
from longrun.blobs.open import open_blobs
from longrun.queues.celery.tickets import ticket_template
from longrun.service.parts import Parts
from longrun.settings import Settings
from longrun.store.claims import Claim
from longrun.store.store import Store

# A line for each request would drown what a failing test prints.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))

BASE = "http://localhost"
API = "/api/v1"


def app_of(settings: Settings, url: str | None = None) -> FastAPI:
    """The app of these settings."""

    def open_parts() -> Parts:
        store = Store(url or settings.redis_url, settings, ticket_template())
        return Parts(settings, store, served(), blobs=open_blobs(settings))

    return build_app(settings, served(), open_parts)


@contextlib.asynccontextmanager
async def calling(app: FastAPI, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of a started app, inside this process."""
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=BASE, timeout=70, **options) as caller:
        yield caller


@contextlib.asynccontextmanager
async def listening(app: Any, *, patience: int = 1, **options: Any) -> AsyncIterator[int]:
    """A real server on a free port of loopback; gives the port. `patience`: seconds at its end for answers that go on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=patience, **options)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[sock]))
        while not server.started:
            assert not running.done(), "the server did not start"
            await asyncio.sleep(0.01)
        try:
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            await running


class PlayedWorker:
    """What a worker would do to the store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def claim(self, job_id: str, worker: str = "w1") -> Claim:
        """Take a queued job."""
        claim = await self.store.claims.claim(job_id, "n", worker, "cpu")
        assert claim is not None, "the job is not to be had"
        return claim

    async def append(self, claim: Claim, first: int, *events: tuple[str, Any], progress: Any = None) -> None:
        """Append events to a claimed job."""
        encoded = [(kind, orjson.dumps(data)) for kind, data in events]
        latest = b"" if progress is None else orjson.dumps(progress)
        assert await self.store.claims.append(claim.id, claim.fence, first, latest, encoded)

    async def succeed(self, job_id: str, output: bytes = b'"done"', outputs: Sequence[Any] = ()) -> None:
        """Claim a job, yield `outputs`, and end it."""
        claim = await self.claim(job_id)
        if outputs:
            await self.append(claim, 0, *[("output", {"value": value}) for value in outputs])
        assert await self.store.claims.finish(job_id, claim.fence, "succeeded", output, b'{"run_s":0.5}') == "succeeded"

    async def fail(self, job_id: str, /, code: str = "model-error", **members: Any) -> None:
        """Claim a job and end it with an error."""
        claim = await self.claim(job_id)
        error = orjson.dumps({"code": code, "detail": "it broke", "attempt": claim.attempt} | members)
        assert await self.store.claims.finish(job_id, claim.fence, "failed", error) == "failed"


@pytest.fixture
def worker(store: Store) -> PlayedWorker:
    """The worker that the tests play."""
    return PlayedWorker(store)


@pytest.fixture
async def caller(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the app over the test's own keys."""
    async with calling(app_of(settings)) as client:
        yield client


@pytest.fixture
def submit(caller: httpx.AsyncClient) -> Callable[..., Any]:
    """Submit a job of `echo` (or another model) and give its body."""

    async def submit(input: Any = None, model: str = "echo", **members: Any) -> dict[str, Any]:
        body = {"input": {"value": "x"} if input is None else input, **members}
        answer = await caller.post(f"{API}/models/{model}/jobs", json=body)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    return submit


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """With a folder of files of the test's own."""
    return settings.model_copy(update={"blobs": (tmp_path / "blobs").as_uri()})


@pytest.fixture
async def kept(settings: Settings, store: Store, tmp_path: Path) -> AsyncIterator[Any]:
    """Asks for the keys of files that stay: what is in the trash is as good as gone."""
    folder = Folder(tmp_path / "blobs")

    async def kept() -> set[str]:
        trash: set[str] = set()
        while found := await store.files.trash():
            trash |= set(found)
            await store.files.trashed(found)
        await folder.delete(sorted(trash))
        return set(await folder.keys())

    yield kept
    folder.close()


@pytest.fixture
def keyed(settings: Settings) -> Settings:
    """With two tenants, ann and bob."""
    return Settings(**{**settings.model_dump(), "api_keys": {"ann": "ann-key", "bob": "bob-key"}})
