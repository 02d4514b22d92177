"""The app inside another one, under a prefix, and over several event loops."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.api.conftest import API, BASE, PlayedWorker, app_of
from tests.integration.api.served import served

from longrun.api.app import build_app
from longrun.errors import SettingsError
from longrun.queues.celery.tickets import ticket_template
from longrun.service.parts import Parts
from longrun.settings import Settings
from longrun.store.store import Store


def outer(app: FastAPI) -> FastAPI:
    """Another application that holds ours under /ai."""
    main = FastAPI()

    @main.get("/hello")
    async def hello() -> str:
        return "mine"

    main.mount("/ai", app)
    return main


async def test_a_mounted_app_opens_itself_and_its_urls_have_the_prefix(settings: Settings, worker: PlayedWorker) -> None:
    app = app_of(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(outer(app)), base_url=BASE) as caller:
        answer = await caller.post(f"/ai{API}/models/echo/jobs", json={"input": {"value": 1}})
        job = answer.json()
        assert (answer.status_code, answer.headers["location"]) == (202, f"/ai{API}/jobs/{job['id']}")
        await worker.succeed(job["id"])
        for url in job["urls"].values():
            assert url.startswith(f"/ai{API}/jobs/")
        assert (await caller.get(job["urls"]["result"])).json() == "done"
        problem = (await caller.get(f"/ai{API}/jobs/nonsense")).json()
        assert problem["instance"] == f"/ai{API}/jobs/nonsense"
        assert (await caller.get(f"/ai{API}/models/echo")).json()["urls"]["jobs"] == f"/ai{API}/models/echo/jobs"
        document = (await caller.get("/ai/openapi.json")).json()
        assert document["servers"] == [{"url": "/ai"}]
        assert "/ai/openapi.json" in (await caller.get("/ai/docs")).text
        assert (await caller.get("/hello")).json() == "mine"
        assert (await caller.get("/ai/nothing")).json()["code"] == "not-found"
    await app.state.longrun.close()


async def test_the_doors_guard_the_mounted_app_and_only_it(settings: Settings) -> None:
    app = app_of(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(outer(app)), base_url="http://evil.example") as caller:
        assert (await caller.get(f"/ai{API}/jobs")).status_code == 403
        assert (await caller.get("/hello")).status_code == 200


async def test_its_lifespan_can_be_the_outer_apps(settings: Settings) -> None:
    app = app_of(settings)
    main = FastAPI(lifespan=app.router.lifespan_context)
    main.mount("/ai", app)
    async with main.router.lifespan_context(main), httpx.AsyncClient(transport=httpx.ASGITransport(main), base_url=BASE) as caller:
        assert (await caller.get("/ai/readyz")).json()["ready"] is True


async def test_a_public_url_stands_before_every_url(settings: Settings) -> None:
    app = app_of(settings.model_copy(update={"public_url": "https://ai.example/run/"}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as caller:
        answer = await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}})
        assert answer.headers["location"] == f"https://ai.example/run{API}/jobs/{answer.json()['id']}"
    await app.state.longrun.close()


def test_one_app_serves_several_event_loops_in_turn(settings: Settings) -> None:
    app = app_of(settings)

    async def once() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as caller:
            status = (await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}})).status_code
        await app.state.longrun.close()
        return status

    assert [asyncio.run(once()) for _ in range(3)] == [202, 202, 202]


async def test_the_parts_are_opened_once_and_chores_run_until_the_end(settings: Settings) -> None:
    opened: list[Parts] = []
    states: list[str] = []

    def open_parts() -> Parts:
        opened.append(Parts(settings, Store(settings.redis_url, settings, ticket_template()), served()))
        return opened[-1]

    async def chores(parts: Parts) -> None:
        states.append("begun")
        try:
            await asyncio.sleep(3600)
        finally:
            states.append("ended")

    app = build_app(settings, served(), open_parts, chores)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as caller:
            await asyncio.gather(*(caller.get("/readyz") for _ in range(20)))
        assert (len(opened), states) == (1, ["begun"])
    assert states == ["begun", "ended"]


async def test_without_a_store_a_lifespan_refuses_and_a_mounted_app_says_503(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_store() -> Any:
        raise SettingsError("run `longrun serve`")

    app = build_app(settings, served(), no_store)
    with pytest.raises(SettingsError, match="longrun serve"):
        async with app.router.lifespan_context(app):
            pass
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as caller:
        answer = await caller.get(f"{API}/jobs")
        assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
        assert "longrun serve" not in answer.text and "longrun serve" in capsys.readouterr().out
