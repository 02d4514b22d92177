"""Every error is a problem document (RFC 9457)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from longrun import errors
from longrun.api import problems
from longrun.api.middleware.request_id import RequestId
from longrun.store.connection import StoreError


def app() -> FastAPI:
    """An app of which every route fails in its own way."""
    app = FastAPI(redirect_slashes=False)
    problems.install(app)
    app.add_middleware(RequestId)

    @app.get("/defect")
    async def defect() -> None:
        raise RuntimeError("secret of the operator")

    @app.get("/store")
    async def store() -> None:
        raise StoreError("ERR secret script")

    @app.get("/typed/{number}")
    async def typed(number: int) -> int:
        return number

    @app.get("/problem/{name}")
    async def problem(name: str) -> None:
        raise getattr(errors, name)("what was wrong", retry_after=0.2, job_id="job_1")

    return app


async def ask(path: str, method: str = "GET", **options: Any) -> httpx.Response:
    """The answer to one request."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app()), base_url="http://localhost") as caller:
        return await caller.request(method, path, **options)


def check(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Hold the answer against the form of a problem."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "instance", "code", "retryable", "request_id"} <= set(body)
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:longrun:problem:{code}")
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.Problem) and kind is not errors.Problem
    ],
)
async def test_every_problem_of_ours_is_told_with_its_own_code(name: str) -> None:
    kind = getattr(errors, name)
    body = check(await ask(f"/problem/{name}"), kind.status, kind.code)
    assert (body["title"], body["detail"], body["retryable"], body["job_id"]) == (kind.title, "what was wrong", kind.retryable, "job_1")
    assert body["instance"] == f"/problem/{name}"


async def test_retry_after_is_rounded_up() -> None:
    assert (await ask("/problem/QueueFull")).headers["retry-after"] == "1"


async def test_401_says_how_to_authenticate() -> None:
    assert (await ask("/problem/Unauthenticated")).headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/defect", "/store"])
async def test_a_defect_tells_the_caller_nothing_and_the_log_all(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = await ask(path)
    body = check(answer, 500, "internal-error")
    assert "secret" not in answer.text and "Traceback" not in answer.text
    logged = capsys.readouterr().out
    assert "secret" in logged and body["request_id"] in logged


async def test_the_frameworks_own_errors_are_problems_too() -> None:
    check(await ask("/nothing"), 404, "not-found")
    answer = await ask("/defect", "DELETE")
    check(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET"
    body = check(await ask("/typed/x"), 422, "validation-failed")
    assert body["errors"][0]["pointer"] == "/path/number"


async def test_a_request_id_is_taken_over_when_it_is_well_formed() -> None:
    assert (await ask("/typed/1", headers={"X-Request-Id": "abc-1_2"})).headers["x-request-id"] == "abc-1_2"
    for bad in ("", "a b", "x" * 65, "é", "a\tb", "<script>"):
        given = (await ask("/typed/1", headers={"X-Request-Id": bad.encode()})).headers["x-request-id"]
        assert given.startswith("req_") and given != bad


async def test_a_path_of_any_characters_is_named_safely() -> None:
    body = check(await ask("/%ff%00é\u2028<x>"), 404, "not-found")
    assert body["instance"].isascii() and "<" not in body["instance"]
