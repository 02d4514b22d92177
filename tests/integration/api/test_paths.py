"""Paths and methods, as HTTP has them: our own pages are answered in front of the framework's router."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response
from tests.integration.api.conftest import API, BASE, app_of, calling, listening

from longrun.settings import Settings

Submit = Callable[..., Any]


async def test_a_percent_encoded_path_is_the_path_that_it_encodes(caller: httpx.AsyncClient, submit: Submit) -> None:
    job = await submit()
    encoded = f"{API}/%6aobs/{job['id'].replace('job_', '%6Aob%5F')}"
    assert (await caller.get(encoded)).json()["id"] == job["id"]
    assert (await caller.get(f"{API}/jobs/{job['id']}%20")).json()["code"] == "job-not-found"


async def test_a_path_with_a_slash_at_its_end_is_another_one(caller: httpx.AsyncClient) -> None:
    for path in (f"{API}/jobs/", f"{API}/models/echo/jobs/", "/livez/", f"{API}//jobs"):
        answer = await caller.get(path)
        assert (answer.status_code, answer.json()["code"], answer.headers["content-type"]) == (404, "not-found", "application/problem+json")


async def test_head_is_get_without_the_body_and_options_names_nothing_that_is_not_there(caller: httpx.AsyncClient) -> None:
    got, head = await caller.get(f"{API}/models"), await caller.head(f"{API}/models")
    assert (head.status_code, head.headers["content-type"], head.headers["content-length"]) == (
        200,
        "application/json",
        str(len(got.content)),
    )
    options = await caller.options(f"{API}/models/echo/jobs")
    assert (options.status_code, options.headers["allow"], options.json()["code"]) == (405, "POST", "method-not-allowed")


async def test_every_answer_has_its_request_id_once(caller: httpx.AsyncClient) -> None:
    for path in (f"{API}/jobs", f"{API}/nothing", f"{API}/jobs/none", "/docs", "/openapi.json"):
        answer = await caller.get(path, headers={"X-Request-Id": "mine-7"})
        assert answer.headers.get_list("x-request-id") == ["mine-7"]


async def test_what_is_added_to_the_app_is_served_by_the_framework_behind_the_same_doors(settings: Settings) -> None:
    app = app_of(settings)

    @app.get("/mine/{number}")
    async def mine(number: int) -> int:
        return number * 2

    @app.get("/named")
    async def named() -> Response:
        return Response(headers={"X-Request-Id": "theirs"})

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    async with calling(app) as caller:
        assert (await caller.get("/mine/4")).json() == 8
        wrong = await caller.get("/mine/x")
        assert (wrong.status_code, wrong.json()["code"]) == (422, "validation-failed")
        assert (await caller.get("/named", headers={"X-Request-Id": "mine"})).headers.get_list("x-request-id") == ["mine"]
        assert (await caller.get("/broken")).json()["code"] == "internal-error"
        assert (await caller.get("/mine/4", headers={"Host": "evil.example"})).status_code == 403


async def test_a_handler_that_breaks_is_answered_with_a_problem(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(settings)

    def fails(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(app.state.longrun, "parts", fails)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as caller:
        answer = await caller.get(f"{API}/jobs")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert "ZeroDivision" not in answer.text


async def test_middleware_that_is_added_to_the_app_sees_every_request(settings: Settings) -> None:
    app, seen = app_of(settings), []

    @app.middleware("http")
    async def look(request: Any, call_next: Any) -> Any:
        seen.append(request.url.path)
        return await call_next(request)

    async with calling(app) as caller:
        assert (await caller.get("/livez")).status_code == 200
        assert (await caller.get("/docs")).status_code == 200
    assert seen == ["/livez", "/docs"]


@pytest.mark.parametrize("root", ["", "/ai"])
async def test_under_a_root_path_a_real_server_finds_the_same_pages(settings: Settings, root: str) -> None:
    async with listening(app_of(settings), root_path=root) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as caller:
        answer = await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}})
        assert (answer.status_code, answer.headers["location"]) == (202, f"{root}{API}/jobs/{answer.json()['id']}")
        assert (await caller.get(f"{API}/jobs/{answer.json()['id']}")).json()["id"] == answer.json()["id"]
        assert (await caller.get(f"{API}/nothing")).json()["instance"] == f"{root}{API}/nothing"


async def test_pieces_of_a_body_that_come_one_after_the_other_are_one_body(settings: Settings) -> None:
    async with listening(app_of(settings)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {API}/models/echo/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode())
        writer.write(b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b'{"inp', b'ut": {"va', b'lue": "\xc3', b'\xa9"}}'):
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write(b"0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 202 ")
        writer.close()


async def test_with_the_sdk_of_opentelemetry_requests_pass_through_frameworks_telemetry(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, through = app_of(settings), []
    framework = FastAPI.__call__

    async def noted(self: FastAPI, scope: Any, receive: Any, send: Any) -> None:
        through.append(scope["type"])
        await framework(self, scope, receive, send)

    monkeypatch.setattr(FastAPI, "__call__", noted)
    async with calling(app) as caller:
        assert (await caller.get("/livez")).status_code == 200
        assert "http" not in through
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk", ModuleType("opentelemetry.sdk"))
        assert (await caller.get("/livez")).status_code == 200
        assert through.count("http") == 1
