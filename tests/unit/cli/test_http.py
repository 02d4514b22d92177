"""The client: patience, keys, where the server is, and problems in words."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from longrun.cli.http import Client, connect, explain, server_url

from .conftest import Answer, ScriptedServer

PROBLEM = {
    "code": "validation-failed",
    "detail": "2 values are wrong",
    "errors": [{"pointer": "/input/text", "detail": "Field required"}, {"pointer": "", "detail": "odd"}],
    "request_id": "req_1",
}


def test_a_busy_server_is_asked_again_with_the_same_headers(server: ScriptedServer) -> None:
    server.on("POST /models/m/jobs", Answer(503, {}), Answer(silent=True), Answer(202, {"id": "job_1"}))
    said: list[str] = []

    answer = Client(server.url, say=said.append).send("POST", "/models/m/jobs", body={"input": {}}, headers={"Idempotency-Key": "k"})

    assert answer.json() == {"id": "job_1"}
    assert [headers["Idempotency-Key"] for headers in server.seen("POST /models/m/jobs")] == ["k", "k", "k"]
    assert [json.loads(body) for _, _, body in server.requests] == [{"input": {}}] * 3
    assert said == [f"{server.url} does not serve right now, trying again"]


def test_the_pause_that_the_server_asks_for_is_kept(server: ScriptedServer) -> None:
    server.on("GET /models", Answer(503, {}, {"Retry-After": "1"}), Answer(200, {"models": []}))
    started = time.monotonic()

    assert Client(server.url).get("/models") == {"models": []}
    assert time.monotonic() - started >= 1.0


def test_a_pause_longer_than_our_patience_is_not_waited_for(server: ScriptedServer) -> None:
    server.on("GET /models", Answer(503, {"code": "queue-full", "detail": "later"}, {"Retry-After": "3600"}))

    with pytest.raises(httpx.HTTPStatusError) as caught:
        Client(server.url).get("/models")

    assert explain(caught.value) == ("queue-full: later", 1)


def test_what_must_not_happen_twice_is_not_sent_twice(server: ScriptedServer) -> None:
    server.on("POST /jobs/job_1/retry", Answer(silent=True))

    with pytest.raises(httpx.TransportError):
        Client(server.url).send("POST", "/jobs/job_1/retry", safe=False)

    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_unreachable_soon(server: ScriptedServer) -> None:
    started = time.monotonic()

    with pytest.raises(httpx.ConnectError) as caught:
        Client("http://127.0.0.1:9").get("/models")

    text, code = explain(caught.value)
    assert code == 5
    assert text.startswith("http://127.0.0.1:9 does not answer")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("status", "body", "text", "code"),
    [
        (422, PROBLEM, "validation-failed: 2 values are wrong\n  /input/text: Field required\n  /: odd\n  request id: req_1", 2),
        (404, {"code": "unknown-model", "detail": "no m"}, "unknown-model: no m", 2),
        (404, {"code": "job-not-found", "detail": "no j"}, "job-not-found: no j", 1),
        (401, {"code": "unauthenticated", "title": "Authentication required"}, "unauthenticated: Authentication required", 1),
        (500, b"<h1>oops</h1>", "HTTP 500 from {url}/api/v1/models: <h1>oops</h1>", 1),
        (413, ["not", "a", "problem"], 'HTTP 413 from {url}/api/v1/models: ["not", "a", "problem"]', 2),
    ],
)
def test_a_problem_becomes_text_and_an_exit_code(server: ScriptedServer, status: int, body: Any, text: str, code: int) -> None:
    server.on("GET /models", Answer(status, body))

    with pytest.raises(httpx.HTTPStatusError) as caught:
        Client(server.url).get("/models")

    assert explain(caught.value) == (text.format(url=server.url), code)


def test_other_errors_are_not_explained_away() -> None:
    with pytest.raises(KeyError):
        explain(KeyError("x"))


def test_the_key_travels_as_bearer_token(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.on("GET /models", Answer(200, {}))
    monkeypatch.setenv("LONGRUN_KEY", "from-environment")

    connect(server.url, "given").get("/models")
    connect(server.url, None).get("/models")
    Client(server.url).get("/models")

    assert [headers.get("Authorization") for headers in server.seen("GET /models")] == ["Bearer given", "Bearer from-environment", None]


def test_a_proxy_does_not_stand_between_two_processes_of_one_machine(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.on("GET /models", Answer(200, {"models": []}))

    assert Client(server.url).get("/models") == {"models": []}


def test_the_servers_url_is_given_or_set_or_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_url(None) == "http://127.0.0.1:8000"
    monkeypatch.setenv("LONGRUN_PORT", "9000")
    assert server_url(None) == "http://127.0.0.1:9000"
    monkeypatch.setenv("LONGRUN_PORT", "0")
    assert server_url(None) == "http://127.0.0.1:8000"
    monkeypatch.setenv("LONGRUN_URL", "https://ai.example.com/ai/")
    assert server_url(None) == "https://ai.example.com/ai"
    assert server_url("http://other/api/v1/") == "http://other"


def test_the_servers_url_may_stand_in_a_dotenv_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LONGRUN_PORT=9100\n")

    assert server_url(None) == "http://127.0.0.1:9100"


@pytest.mark.parametrize("wrong", ["localhost:8000", "ftp://x", "http://", "nonsense"])
def test_what_is_no_url_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="write it as"):
        server_url(wrong)


def test_a_glance_never_raises(server: ScriptedServer) -> None:
    server.on("GET /readyz", Answer(503, {"ready": False}))
    server.on("GET /html", Answer(200, b"<p>"))

    assert Client(server.url).glance("/readyz", 1.0) == {"ready": False}
    assert Client(server.url).glance("/html", 1.0) is None
    assert Client("http://127.0.0.1:9").glance("/readyz", 1.0) is None
