"""Where the server is, with which key, and past which proxies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values
from tests.unit.scripted import Answer, ScriptedServer

from longrun.client import Client
from longrun.client.http.address import read_dotenv, server_key, server_url


def test_the_servers_url_is_given_or_set_or_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_url(None) == "http://127.0.0.1:8000"
    monkeypatch.setenv("LONGRUN_PORT", "9000")
    assert server_url(None) == "http://127.0.0.1:9000"
    monkeypatch.setenv("LONGRUN_PORT", "0")
    assert server_url(None) == "http://127.0.0.1:8000"
    monkeypatch.setenv("LONGRUN_URL", "https://ai.example.com/ai/")
    assert server_url(None) == "https://ai.example.com/ai"
    assert server_url("http://other/api/v1/") == "http://other"


def test_url_and_key_may_stand_in_a_dotenv_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LONGRUN_PORT=9100\nLONGRUN_KEY=abc\n")

    assert (server_url(None), server_key(None)) == ("http://127.0.0.1:9100", "abc")


def test_a_dotenv_file_means_what_it_means_to_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "ai.example.com")
    path = tmp_path / ".env"
    path.write_text(
        '# LONGRUN_KEY=no\n\nexport LONGRUN_KEY = \'a b#c\'  # mine\nPLAIN=one#two  # three\nEMPTY=\nQUOTED="say \\"hi\\""\n'
        'PORT=9100\r\nLONGRUN_URL=https://${HOST}:${PORT}/${PATH_THAT_IS_NOT_SET:-ai}\nLONG="first\nLONGRUN_KEY=no"\nPORT=9200\nBARE\n'
    )

    values = {name: value for name, value in dotenv_values(path).items() if value is not None}
    assert read_dotenv(path) == values
    assert values["LONGRUN_URL"] == "https://ai.example.com:9100/ai"
    assert read_dotenv(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "text",
    [
        "LONGRUN_KEY= # put the key here",
        "LONGRUN_KEY=#key",
        'LONGRUN_KEY="a\\tb\\"c\\nd"',
        "LONGRUN_KEY='a\\nb\\'c\\\"d'",
        'LONGRUN_KEY="a"b',
        "LONGRUN_KEY=  'a'b\nLONGRUN_URL=x",
        'LONGRUN_KEY="a\nLONGRUN_URL=x',
        'LONGRUN_KEY="a" # mine\nLONGRUN_URL=x',
        "\ufeffLONGRUN_KEY=a",
    ],
)
def test_comments_quotes_and_escapes_are_read_as_the_server_reads_them(text: str, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(text, "utf-8")

    assert read_dotenv(path) == {name: value for name, value in dotenv_values(path).items() if value is not None}


@pytest.mark.parametrize(
    "wrong",
    ["localhost:8000", "ftp://x", "http://", "nonsense", "http://x:none", "http://x:99999", "http://x:0", "http://[::1", "http://x y"],
)
def test_what_is_no_url_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="write it as"):
        server_url(wrong)


@pytest.mark.parametrize("wrong", ["se\ncret", "se\u00e4cret", "secret\r"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(wrong: str) -> None:
    with pytest.raises(ValueError, match="the API key") as caught:
        Client("http://x", wrong)

    assert "cret" not in str(caught.value)
    assert "cret" not in repr(Client("http://x", "secret"))


def test_the_key_travels_as_bearer_token(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.on("GET /models", Answer(200, {"models": []}))
    monkeypatch.setenv("LONGRUN_KEY", "from-environment")

    for client in (Client(server.url, "given"), Client(server.url), Client(server.url, "")):
        client.models()

    assert [headers.get("Authorization") for headers in server.seen("GET /models")] == ["Bearer given", "Bearer from-environment", None]


def test_a_proxy_does_not_stand_between_two_processes_of_one_machine(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.on("GET /models", Answer(200, {"models": []}))

    assert Client(server.url).models() == []


def test_a_program_that_calls_loads_nothing_of_the_server() -> None:
    source = "import longrun, sys; longrun.Client(); longrun.AsyncClient(); longrun.JobFailed; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "httpx" in loaded
    assert loaded & {"redis", "celery", "kombu", "fastapi", "starlette", "pydantic", "uvicorn", "typer"} == set()
