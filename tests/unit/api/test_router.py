"""From a path to its handler."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from longrun.api.http.request import Head, head_of, route_path
from longrun.api.http.router import Router
from longrun.api.routes import TABLE
from longrun.errors import JobNotFound


async def echo(request: Request) -> Response:
    return JSONResponse({"method": request.method, "parameters": request.path_params, "accept": request.headers.get("Accept")})


async def missing(request: Request) -> Response:
    raise JobNotFound("There is no job x.")


async def broken(request: Request) -> Response:
    raise ZeroDivisionError


async def otherwise(scope: Any, receive: Any, send: Any) -> None:
    await Response(b'"otherwise"')(scope, receive, send)


ROUTER = Router(
    otherwise,
    {
        "/jobs": {"GET": echo, "POST": echo},
        "/jobs/{job_id}": {"GET": echo, "DELETE": echo},
        "/jobs/{job_id}/cancel": {"POST": echo},
        "/jobs/all": {"DELETE": echo},
        "/missing": {"GET": missing},
        "/broken": {"GET": broken},
    },
)


async def ask(method: str, path: str, **scope: Any) -> tuple[int, dict[str, str], Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    full = {"type": "http", "method": method, "path": path, "headers": [(b"accept", b"a/b")], "query_string": b"", "app": object()} | scope
    await ROUTER(full, None, send)  # type: ignore[arg-type]  # no handler here reads a body
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, orjson.loads(sent[1]["body"])


async def test_a_handler_gets_its_parameters_and_the_headers() -> None:
    status, _, seen = await ask("POST", "/jobs/j 1/cancel")
    assert (status, seen) == (200, {"method": "POST", "parameters": {"job_id": "j 1"}, "accept": "a/b"})


async def test_a_fixed_part_goes_before_a_parameter() -> None:
    assert (await ask("DELETE", "/jobs/all"))[2]["parameters"] == {}
    assert (await ask("DELETE", "/jobs/al"))[2]["parameters"] == {"job_id": "al"}


async def test_head_is_answered_by_what_answers_get() -> None:
    assert (await ask("HEAD", "/jobs/7"))[2]["method"] == "HEAD"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/jobs", "GET, HEAD, POST"),
        ("OPTIONS", "/jobs/7", "DELETE, GET, HEAD"),
        ("GET", "/jobs/7/cancel", "POST"),
        ("HEAD", "/jobs/7/cancel", "POST"),
        ("NONSENSE", "/jobs/all", "DELETE"),
        ("get", "/jobs", "GET, HEAD, POST"),
    ],
)
async def test_a_method_that_is_not_there_is_a_405_that_names_those_that_are(method: str, path: str, allowed: str) -> None:
    status, headers, problem = await ask(method, path)
    assert (status, headers["allow"], problem["code"]) == (405, allowed, "method-not-allowed")
    assert problem["detail"].startswith(f"{method} is not possible here")


@pytest.mark.parametrize(
    "path", ["/", "", "jobs", "/jobs/", "/jobs//cancel", "/jobs/7/", "/jobs/7/cancel/", "/Jobs", "/jobs/7/cancel\n", "/x/jobs", "//jobs"]
)
async def test_every_other_path_goes_on_to_the_framework(path: str) -> None:
    assert await ask("GET", path) == (200, {"content-length": "11"}, "otherwise")


async def test_a_websocket_goes_on_to_the_framework() -> None:
    assert ROUTER.find("/jobs") is not None
    seen: list[str] = []

    async def sockets(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await Router(sockets, {"/jobs": {"GET": echo}})({"type": "websocket", "path": "/jobs"}, None, None)  # type: ignore[arg-type]
    assert seen == ["websocket"]


async def test_below_a_prefix_the_prefix_does_not_count_and_outer_parameters_stay() -> None:
    seen = await ask("GET", "/ai/jobs/7", root_path="/ai", path_params={"who": "me"})
    assert seen[2]["parameters"] == {"who": "me", "job_id": "7"}
    assert (await ask("GET", "/ai/jobs", root_path="/a"))[2] == "otherwise"
    assert (await ask("GET", "/aijobs", root_path="/ai"))[2] == "otherwise"


async def test_a_problem_that_is_raised_is_answered_and_what_nobody_knows_is_passed_on() -> None:
    status, headers, problem = await ask("GET", "/missing")
    assert (status, headers["content-type"], problem["code"]) == (404, "application/problem+json", "job-not-found")
    with pytest.raises(ZeroDivisionError):
        await ask("GET", "/broken")


def test_one_place_in_a_path_has_one_name() -> None:
    with pytest.raises(ValueError, match="the parameter here is named job_id in another path"):
        Router(otherwise, {"/jobs/{job_id}": {"GET": echo}, "/jobs/{other}/x": {"GET": echo}})


@pytest.mark.parametrize("path", TABLE)
def test_every_path_of_the_contract_leads_to_its_own_handlers(path: str) -> None:
    found = Router(otherwise, TABLE).find(re.sub(r"{\w+}", "a", path))
    assert found == (TABLE[path], dict.fromkeys(re.findall(r"{(\w+)}", path), "a"))


def test_a_head_knows_its_headers_whatever_their_case() -> None:
    head = Head({"headers": [(b"accept", b"a"), (b"x-twice", b"1"), (b"X-Twice", b"\xe9")]})
    assert (head["Accept"], head.get("ACCEPT"), head.get("none"), head.get("none", "")) == ("a", "a", None, "")
    assert (head.getlist("X-twice"), head.getlist("none")) == (["1", "é"], [])
    assert ("aCCept" in head, "none" in head, 7 in head) == (True, False, False)
    assert list(head.items()) == [("accept", "a"), ("x-twice", "1"), ("X-Twice", "é")]
    with pytest.raises(KeyError):
        head["none"]


def test_a_head_is_read_once_for_all_layers() -> None:
    scope: dict[str, Any] = {"headers": [(b"accept", b"a")]}
    assert head_of(scope) is head_of(scope)


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [("/jobs", "", "/jobs"), ("/ai/jobs", "/ai", "/jobs"), ("/ai/jobs", "/ai/", "/jobs"), ("/jobs", "/ai", "/jobs")],
)
def test_the_path_below_a_prefix(path: str, root: str, below: str) -> None:
    assert route_path({"path": path, "root_path": root}) == below
