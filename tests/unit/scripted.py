"""A real HTTP server on loopback that answers as a test tells it: what the real one does only on a bad day."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from longrun.client.caller import Caller
from longrun.client.http.connection import Connection
from longrun.client.http.retry import Rules


@dataclass
class Answer:
    """One answer; `silent` = the connection breaks instead."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    silent: bool = False


@dataclass
class ScriptedServer:
    url: str
    #: Answers by `METHOD /path?query` (without /api/v1), each list used up from the front; the last one stays.
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def on(self, request: str, *answers: Answer) -> None:
        self.answers[request] = list(answers)

    def seen(self, request: str) -> list[dict[str, str]]:
        """The headers of every such request, in order."""
        return [headers for name, headers, _ in self.requests if name == request]


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """Serve on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            name = f"{self.command} {self.path.removeprefix('/api/v1')}"
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            scripted.requests.append((name, dict(self.headers), body))
            waiting = scripted.answers[name]
            answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if answer.silent:
                self.close_connection = True
                return
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for key, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **answer.headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

        def log_message(self, format: str, *args: object) -> None:
            return None

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scripted = ScriptedServer(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield scripted
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def caller_of(url: str) -> Caller:
    """What a `Client(url)` hands to its jobs."""
    return Caller(Rules(url, 30.0, 30.0), Connection(url, ""))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture(autouse=True)
def no_server_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("LONGRUN_URL", "LONGRUN_KEY", "LONGRUN_PORT", "LONGRUN_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
