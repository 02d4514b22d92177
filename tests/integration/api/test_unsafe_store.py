"""A store that would lose jobs: submits are refused until it is mended, everything else goes on; lost data are told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs
from tests.integration.api.conftest import API, BASE, PlayedWorker, calling
from tests.integration.api.served import served
from tests.integration.api.test_store_away import frozen

from longrun.api.app import build_app
from longrun.embedded import EmbeddedValkey
from longrun.queues.celery.tickets import ticket_template
from longrun.service.admission import Admission, inspect
from longrun.service.parts import Parts
from longrun.settings import Settings
from longrun.store.server_facts import read_about
from longrun.store.store import Store

ECHO = f"{API}/models/echo/jobs"
BODY = {"input": {"value": 1}}


@pytest.fixture
def own_server(tmp_path: Path) -> EmbeddedValkey:
    """A server of this test alone."""
    return EmbeddedValkey(tmp_path / "data")


@pytest.fixture
async def own(own_server: EmbeddedValkey) -> AsyncIterator[Settings]:
    """Settings for it."""
    with own_server:
        yield Settings(redis_url=own_server.start(), lease=2, heartbeat=0.5, store_timeout=0.5)


def gated(settings: Settings, *, every: float = 0.05, on_wrong_start: Callable[[], None] | None = None, watch: bool = True) -> FastAPI:
    """The app of these settings, with a gate that looks often."""

    def open_parts() -> Parts:
        store = Store(settings.redis_url, settings, ticket_template())

        def look(timeout: float) -> Any:
            return inspect(store, settings, lambda: None, timeout=timeout)

        return Parts(settings, store, served(), Admission(look, every=every, patience=0.5, on_wrong_start=on_wrong_start))

    async def beside(parts: Parts) -> None:
        if watch:
            await parts.admission.watch()

    return build_app(settings, served(), open_parts, beside)


@contextlib.asynccontextmanager
async def server_command(settings: Settings) -> AsyncIterator[Callable[..., Any]]:
    store = Store(settings.redis_url, settings, ticket_template())
    try:
        yield store.connection.command
    finally:
        await store.close()


async def ready_until(caller: httpx.AsyncClient, status: int, **checks: str) -> dict[str, Any]:
    """The body of /readyz when it has this status and these checks."""
    deadline = time.monotonic() + 60
    while True:
        answer = await caller.get("/readyz")
        body: dict[str, Any] = answer.json()
        if answer.status_code == status and checks.items() <= body["checks"].items():
            return body
        assert time.monotonic() < deadline, (answer.status_code, body)
        await asyncio.sleep(0.02)


async def test_submits_are_refused_while_the_store_is_unsafe_and_taken_again_when_it_is_mended(own: Settings) -> None:
    async with calling(gated(own)) as caller, server_command(own) as command:
        worker = PlayedWorker(Store(own.redis_url, own, ticket_template()))
        assert await ready_until(caller, 200) == {"ready": True, "checks": {"store": "ok", "files": "ok"}, "workers": 0}
        job, doomed = [(await caller.post(ECHO, json=BODY)).json() for _ in range(2)]
        await worker.fail(doomed["id"])
        claim = await worker.claim(job["id"])

        await command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        body = await ready_until(caller, 503)
        assert body == {"ready": False, "checks": {"store": "ok", "files": "ok", "maxmemory-policy": "unsafe"}, "workers": 0}
        for answer in (
            await caller.post(ECHO, json=BODY),
            await caller.post(f"{API}/jobs/{doomed['id']}/retry"),
            await caller.post(f"{API}/dead-letters/redrive", json={"all": True}),
        ):
            problem = answer.json()
            assert (answer.status_code, problem["code"], problem["retryable"]) == (503, "store-unsafe", True)
            assert int(answer.headers["retry-after"]) > 0
            assert "maxmemory" not in answer.text and "lru" not in answer.text, "callers are told no internals"
        # Reading, and work that has begun, go on.
        assert (await caller.get(job["urls"]["self"])).json()["status"] == "running"
        assert await worker.store.claims.finish(job["id"], claim.fence, "succeeded", b"1", b"{}") == "succeeded"
        assert (await caller.get(job["urls"]["result"])).json() == 1
        assert len((await caller.get(f"{API}/jobs")).json()["jobs"]) == 2, "nothing was stored meanwhile"

        await command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await ready_until(caller, 200)
        assert (await caller.post(ECHO, json=BODY)).status_code == 202
        await worker.store.close()


async def test_what_is_wrong_is_logged_once_with_the_line_that_mends_it(own: Settings) -> None:
    with capture_logs() as lines:
        async with calling(gated(own)) as caller, server_command(own) as command:
            await ready_until(caller, 200)
            await command("CONFIG", "SET", "appendonly", "no")
            await ready_until(caller, 503, appendonly="unsafe")
            await asyncio.sleep(0.3)  # several looks more
            await command("CONFIG", "SET", "appendonly", "yes")
            await ready_until(caller, 200)
    told = [(line["log_level"], line["check"]) for line in lines if line.get("check") == "appendonly"]
    assert told == [("critical", "appendonly"), ("info", "appendonly")]
    assert any("`redis-cli CONFIG SET appendonly yes`" in line.get("mend", "") for line in lines)


async def test_a_first_submit_looks_before_it_accepts(own: Settings) -> None:
    """A mounted app has no start-up: whoever comes first must not slip through."""
    async with server_command(own) as command:
        await command("CONFIG", "SET", "appendonly", "no")
        app = gated(own, watch=False)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as caller:
            answers = await asyncio.gather(*(caller.post(ECHO, json=BODY) for _ in range(10)))
            assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "store-unsafe")}
            assert (await caller.get(f"{API}/jobs")).json()["jobs"] == []
        await app.state.longrun.close()


async def test_an_app_that_starts_before_its_store_becomes_ready_with_it(own_server: EmbeddedValkey, own: Settings) -> None:
    with frozen(own_server):
        async with calling(gated(own, every=30)) as caller:
            answer, ready = await asyncio.gather(caller.post(ECHO, json=BODY), caller.get("/readyz"))
            assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
            assert (ready.status_code, ready.json()["checks"]) == (503, {"store": "does not answer"})

            assert own_server.pid is not None
            os.kill(own_server.pid, signal.SIGCONT)
            await ready_until(caller, 200)
            assert (await caller.post(ECHO, json=BODY)).status_code == 202


async def test_only_a_first_look_ends_the_process(own: Settings) -> None:
    ends: list[str] = []
    async with server_command(own) as command:
        async with calling(gated(own, on_wrong_start=lambda: ends.append("safe at first"))) as caller:
            await ready_until(caller, 200)
            await command("CONFIG", "SET", "appendonly", "no")
            await ready_until(caller, 503)
        async with calling(gated(own, on_wrong_start=lambda: ends.append("unsafe from the start"))) as caller:
            await ready_until(caller, 503, appendonly="unsafe")
            await asyncio.sleep(0.2)  # several looks more
    assert ends == ["unsafe from the start"]


async def test_lost_data_are_told_for_the_life_of_the_process(own: Settings) -> None:
    with capture_logs() as lines:
        async with calling(gated(own)) as caller, calling(gated(own)) as neighbour, server_command(own) as command:
            assert (
                (await ready_until(caller, 200))["checks"]
                == (await ready_until(neighbour, 200))["checks"]
                == {"store": "ok", "files": "ok"}
            )
            job = (await caller.post(ECHO, json=BODY)).json()
            await command("FLUSHALL")
            for each in (caller, neighbour):
                deadline = time.monotonic() + 60
                while (body := (await ready_until(each, 200)))["checks"]["store"] == "ok":
                    assert time.monotonic() < deadline, "the loss was not told"
                    await asyncio.sleep(0.02)
                assert body["ready"] is True and body["checks"]["store"].startswith("lost its data at 2")
            await asyncio.sleep(0.3)  # several looks more
            assert (await caller.get(job["urls"]["self"])).status_code == 404
            assert (await caller.post(ECHO, json=BODY)).status_code == 202
    assert [line["log_level"] for line in lines if line["event"] == "the store has lost its data"] == ["critical"] * 2


async def test_data_of_another_format_are_refused_at_run_time_too(own: Settings) -> None:
    async with calling(gated(own)) as caller, server_command(own) as command:
        await ready_until(caller, 200)
        await command("HSET", f"{own.prefix}about", "format", "99", "version", "9.9")
        await ready_until(caller, 503, format="unsafe")
        assert (await caller.post(ECHO, json=BODY)).json()["code"] == "store-unsafe"


async def test_a_warning_is_shown_and_changes_nothing(own: Settings) -> None:
    async with calling(gated(own)) as caller, server_command(own) as command:
        await command("CONFIG", "SET", "appendfsync", "no")
        await ready_until(caller, 200, appendfsync="warning")
        assert (await caller.post(ECHO, json=BODY)).status_code == 202


async def test_an_outage_leaves_the_gate_as_it_was_and_is_followed_by_a_look(own_server: EmbeddedValkey, own: Settings) -> None:
    async with calling(gated(own)) as caller, server_command(own) as command:
        await ready_until(caller, 200)
        before = await read_about_at(own)
        with frozen(own_server):
            assert (await caller.post(ECHO, json=BODY)).json()["code"] == "submit-unconfirmed"
        await ready_until(caller, 200)
        assert await read_about_at(own) == before
        await command("CONFIG", "SET", "appendonly", "no")
        await ready_until(caller, 503, appendonly="unsafe")


async def read_about_at(settings: Settings) -> Any:
    store = Store(settings.redis_url, settings, ticket_template())
    try:
        return await read_about(store, timeout=5)
    finally:
        await store.close()
