"""Who may come in."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from longrun.api.middleware import access
from longrun.api.middleware.access import AccessControl
from longrun.errors import MalformedRequest, PayloadTooLarge, Unauthenticated
from longrun.settings import Settings

OPEN = Settings()
KEYED = Settings(api_keys={"ann": "key-of-ann", "bob": "key-of-bob"})
LOCAL = {"host": "localhost:8000"}


async def knock(
    settings: Settings, headers: dict[str, str] | list[tuple[str, str]], *, body: bytes = b"", kind: str = "http", **scope: Any
) -> tuple[int, dict[str, str], Any]:
    """Status, headers, and what came out: the problem, or the tenant that the app saw."""
    sent: list[Any] = []
    pieces = [body[i : i + 500] for i in range(0, len(body), 500)] or [b""]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            more = (await receive()).get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": orjson.dumps({"tenant": scope["state"]["tenant"]})})

    async def receive() -> Any:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    full = {
        "type": kind,
        "method": "GET",
        "path": "/api/v1/jobs",
        "http_version": "1.1",
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in pairs],
    } | scope
    await AccessControl(app, settings)(full, receive, send)
    if sent[0]["type"] == "websocket.close":
        return sent[0]["code"], {}, sent[0]["reason"]
    found = {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], found, orjson.loads(sent[1]["body"]) if sent[1].get("body") else None


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST:8000"])
async def test_an_open_service_answers_to_loopback_names(host: str) -> None:
    assert await knock(OPEN, {"host": host}) == (200, {}, {"tenant": "default"})


@pytest.mark.parametrize(
    "host", ["evil.example", "testserver", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "localhost:80:80"]
)
async def test_an_open_service_answers_to_no_other_name(host: str) -> None:
    status, _, problem = await knock(OPEN, {"host": host})
    assert (status, problem["code"]) == (403, "forbidden")


async def test_added_hosts_are_answered_and_a_star_is_any() -> None:
    assert (await knock(Settings(allowed_hosts=("ai.example",)), {"host": "ai.example:443"}))[0] == 200
    assert (await knock(Settings(allowed_hosts=("ai.example",)), {"host": "localhost"}))[0] == 200
    assert (await knock(Settings(allowed_hosts=("ai.example",)), {"host": "b.example"}))[0] == 403
    assert (await knock(Settings(allowed_hosts=("*",)), {"host": "b.example"}))[0] == 200


async def test_with_keys_hosts_are_only_checked_when_some_are_named() -> None:
    key = {"authorization": "Bearer key-of-ann"}
    named = Settings(api_keys={"ann": "key-of-ann"}, allowed_hosts=("ai.example",))
    assert (await knock(KEYED, {"host": "anything.example", **key}))[0] == 200
    assert (await knock(named, {"host": "ai.example", **key}))[0] == 200
    assert (await knock(named, {"host": "localhost", **key}))[0] == 403


async def test_http_1_1_needs_exactly_one_host() -> None:
    assert (await knock(OPEN, {}))[0] == 400
    assert (await knock(OPEN, [("host", "localhost"), ("host", "localhost")]))[0] == 400
    assert (await knock(KEYED, {"authorization": "Bearer key-of-ann"}, http_version="1.0"))[0] == 200


@pytest.mark.parametrize("origin", ["http://localhost:8000", "https://localhost:8000", "HTTP://LOCALHOST:8000"])
async def test_pages_of_the_same_origin_come_in(origin: str) -> None:
    assert (await knock(OPEN, {**LOCAL, "origin": origin}))[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "http://localhost:9000", "http://localhost", "", "localhost:8000", "http://localhost:x", "http://[::1"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
async def test_pages_of_foreign_origins_do_not_whatever_the_method(origin: str, method: str) -> None:
    assert (await knock(OPEN, {**LOCAL, "origin": origin}, method=method))[0] == 403


async def test_default_ports_of_origins_count() -> None:
    assert access.same_origin("https://ai.example", "ai.example:443")
    assert access.same_origin("http://ai.example:80", "ai.example")
    assert not access.same_origin("https://ai.example", "ai.example:8443")


async def test_an_allowed_origin_comes_in_and_is_told_so() -> None:
    settings = Settings(allowed_origins=("https://app.example",))
    status, headers, _ = await knock(settings, {**LOCAL, "origin": "https://app.example"})
    assert (status, headers["access-control-allow-origin"], headers["vary"]) == (200, "https://app.example", "Origin")
    asked = {
        **LOCAL,
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    status, headers, _ = await knock(Settings(api_keys={"a": "k"}, allowed_origins=("https://app.example",)), asked, method="OPTIONS")
    assert (status, headers["access-control-allow-headers"]) == (204, "authorization")


async def test_the_origin_of_the_public_url_comes_in() -> None:
    assert (await knock(Settings(public_url="https://ai.example/longrun"), {**LOCAL, "origin": "https://ai.example"}))[0] == 200


async def test_each_key_leads_to_its_tenant() -> None:
    assert (await knock(KEYED, {**LOCAL, "authorization": "Bearer key-of-bob"}))[2] == {"tenant": "bob"}
    assert (await knock(KEYED, {**LOCAL, "authorization": "bearer  key-of-ann"}))[2] == {"tenant": "ann"}


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic key-of-ann", "key-of-ann", "Bearer key-of-ann2", "Bearer schl\xfcssel"]
)
async def test_no_key_or_a_wrong_one_is_refused(value: str | None) -> None:
    status, headers, problem = await knock(KEYED, LOCAL if value is None else {**LOCAL, "authorization": value})
    assert (status, headers["www-authenticate"], problem["code"]) == (401, "Bearer", "unauthenticated")
    assert "key-of" not in str(problem)


def test_two_authorization_headers_are_none() -> None:
    with pytest.raises(Unauthenticated):
        access.tenant_of(["Bearer key-of-ann", "Bearer key-of-ann"], {"ann": b"key-of-ann"})


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_needs_no_key(path: str) -> None:
    assert (await knock(KEYED, LOCAL, path=path))[0] == 200
    assert (await knock(KEYED, LOCAL, path=f"/ai{path}", root_path="/ai"))[0] == 200


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.json", "/api/v1/models", "/livez/", "/x/livez", "/nothing"])
async def test_everything_else_does(path: str) -> None:
    assert (await knock(KEYED, LOCAL, path=path))[0] == 401


async def test_a_body_that_says_it_is_too_large_is_refused_unread() -> None:
    assert (await knock(Settings(max_body=1024), {**LOCAL, "content-length": "1025"}))[0] == 413
    assert (await knock(Settings(max_body=1024), {**LOCAL, "content-length": "1024"}))[0] == 200


async def test_a_body_that_turns_out_too_large_is_stopped() -> None:
    with pytest.raises(PayloadTooLarge):
        await knock(Settings(max_body=1024), LOCAL, body=b"x" * 1025)
    assert (await knock(Settings(max_body=1024), LOCAL, body=b"x" * 1024))[0] == 200


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "1, 1", "9" * 40, "٣".encode().decode("latin-1")])
async def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    assert (await knock(OPEN, {**LOCAL, "content-length": length}))[0] == 400


@pytest.mark.parametrize(("coding", "status"), [("gzip", 415), ("identity", 200), ("Identity", 200), ("gzip, identity", 415), ("br", 415)])
async def test_compressed_bodies_are_refused(coding: str, status: int) -> None:
    assert (await knock(OPEN, {**LOCAL, "content-encoding": coding}))[0] == status


async def test_websockets_pass_the_same_doors() -> None:
    assert (await knock(OPEN, {**LOCAL, "origin": "http://evil.example"}, kind="websocket"))[0] == 1008
    assert (await knock(KEYED, LOCAL, kind="websocket"))[0] == 1008
    assert (await knock(KEYED, LOCAL, kind="websocket", extensions={"websocket.http.response": {}}))[0] == 401


def test_a_missing_host_is_only_allowed_before_http_1_1() -> None:
    assert access.one_host([], "1.0") == ""
    assert access.one_host([], "2") == ""
    with pytest.raises(MalformedRequest):
        access.one_host([], "1.1")
