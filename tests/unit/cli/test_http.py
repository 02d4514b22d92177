"""The client as the commands use it: failures as a text and an exit code, and a short patience."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from tests.unit.scripted import Answer, ScriptedServer

from longrun.cli.http import connect, explain, for_each, glance
from longrun.cli.main import main
from longrun.client.http.connection import http_options
from longrun.errors import CallError

PROBLEM = {
    "code": "validation-failed",
    "detail": "2 values are wrong",
    "errors": [{"pointer": "/input/text", "detail": "Field required"}, {"pointer": "", "detail": "odd"}],
    "request_id": "req_1",
}


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

    with pytest.raises(CallError) as caught:
        connect(server.url, None).models()

    assert explain(caught.value) == (text.format(url=server.url), code)


def test_other_errors_are_not_explained_away() -> None:
    with pytest.raises(KeyError):
        explain(KeyError("x"))


def test_what_fails_does_not_keep_the_others_from_being_done(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[int] = []

    done, code = for_each(["7", "x", "8"], int, shown.append)

    assert (done, shown, code) == ([7, 8], [7, 8], 1)
    assert capsys.readouterr().err.startswith("x: invalid literal")


def test_output_that_nobody_reads_any_longer_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    def closed(_: int) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        for_each(["7", "8"], int, closed)

    assert capsys.readouterr().err == ""


def test_a_server_that_is_not_there_is_unreachable_soon() -> None:
    started = time.monotonic()

    with pytest.raises(CallError) as caught:
        connect("http://127.0.0.1:9", None).models()

    text, code = explain(caught.value)
    assert code == 5
    assert text.startswith("http://127.0.0.1:9 does not answer (ConnectError")
    assert "longrun serve" in text
    assert time.monotonic() - started < 60


def test_a_busy_server_is_asked_again_and_that_is_said_once(server: ScriptedServer) -> None:
    server.on("GET /models", Answer(503, {}), Answer(silent=True), Answer(200, {"models": []}))
    said: list[str] = []

    assert connect(server.url, None, said.append).models() == []
    assert said == [f"{server.url} does not serve right now, trying again"]


@pytest.mark.parametrize("wrong", ["http://localhost:none", "http://localhost:99999", "http://[::1", "nonsense"])
def test_what_is_no_url_is_a_usage_error_and_no_traceback(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["models", "--url", wrong])

    assert caught.value.code == 2
    assert "is not the URL of a server" in capsys.readouterr().err


def test_a_key_that_cannot_be_sent_is_a_usage_error_that_does_not_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["models", "--key", "geheim\n"])

    assert caught.value.code == 2
    assert "geheim" not in capsys.readouterr().err


def test_a_glance_never_raises(server: ScriptedServer) -> None:
    server.on("GET /readyz", Answer(503, {"ready": False}))
    server.on("GET /html", Answer(200, b"<p>"))

    with httpx.Client(**http_options(server.url, "")) as http:
        assert glance(http, f"{server.url}/readyz", 1.0) == {"ready": False}
        assert glance(http, f"{server.url}/html", 1.0) is None
        assert glance(http, "http://127.0.0.1:9/readyz", 1.0) is None
