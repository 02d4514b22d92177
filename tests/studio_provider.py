"""A provider of chat and pictures for the design studio: slow, busy and broken at random, and it counts what it bills."""

from __future__ import annotations

import base64
import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.design_studio.domain import MARKS
from PIL import Image

#: What becomes of a call. `lost`: the work is done and billed, and the connection dies before the answer.
FAULTS = ("busy", "broken", "lost", "nonsense")
STYLE = {"palette": "dusk", "marks": list(MARKS)[::-1], "roughness": 0.25}


class StubProvider:
    """Answers a call with the same key with the same answer, and bills it once, as real services do.

    Args:
        seed: of the random faults.
        faulty: part of the calls that fail, from 0 to 1. No piece of work fails more than three times.
        slow: seconds that each call takes.
        best: index of the version that the judge prefers.
    """

    def __init__(self, seed: int = 0, *, faulty: float = 0.0, slow: float = 0.0, best: int = 2) -> None:
        self.faulty, self.slow, self.best = faulty, slow, best
        self.calls: list[tuple[str, str]] = []  #: (step, key) of each request
        self.billed: dict[str, str] = {}  #: key -> step
        self.faults: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._answers: dict[str, Any] = {}
        self._random, self._lock = random.Random(seed), threading.Lock()

    @property
    def bill(self) -> Counter[str]:
        """Billed pieces of work by step."""
        return Counter(self.billed.values())

    def fault(self, step: str, key: str) -> str | None:
        """What goes wrong with this call."""
        with self._lock:
            self.calls.append((step, key))
            if self._failed[key] == 3 or self._random.random() >= self.faulty:
                return None
            self._failed[key] += 1
            kind = self._random.choice(FAULTS if step != "draw" else FAULTS[:3])
            self.faults[kind] += 1
            return kind

    def work(self, step: str, body: dict[str, Any], key: str) -> Any:
        """Do it once."""
        with self._lock:
            if key not in self._answers:
                self.billed[key] = step
                self._answers[key] = _picture(len(self._answers)) if step == "draw" else _chat(self._said(step, body))
            return self._answers[key]

    def _said(self, step: str, body: dict[str, Any]) -> dict[str, Any]:
        if step == "analyse":
            return STYLE
        shown = sum(part["type"] == "image_url" for part in body["messages"][0]["content"])
        return {"scores": [0.9 if version == self.best else 0.5 for version in range(shown)], "reasons": ["nice"] * shown}


def step_of(path: str, body: dict[str, Any]) -> str:
    """Which step of the studio asks this."""
    if path.endswith("/images/generations"):
        return "draw"
    return "judge" if any(part["type"] == "image_url" for part in body["messages"][0]["content"]) else "analyse"


def _chat(said: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": json.dumps(said)}}]}


def _picture(number: int) -> dict[str, Any]:
    held = io.BytesIO()
    Image.new("RGB", (64, 64), (40 * number % 256, 90, 160)).save(held, "PNG")
    return {"data": [{"b64_json": base64.b64encode(held.getvalue()).decode()}]}


@contextmanager
def served(stub: StubProvider) -> Iterator[str]:
    """The stub on a port of loopback: its base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers["Idempotency-Key"]
            step = step_of(self.path, body)
            fault = stub.fault(step, key)
            time.sleep(stub.slow)
            if fault == "busy":
                return self._answer(429, {"error": "too many requests"}, {"Retry-After": "0.05"})
            if fault == "broken":
                return self._answer(503, {"error": "overloaded"})
            if fault == "nonsense":  # one that is not billed
                return self._answer(200, _chat(["I would rather not"]))
            answer = stub.work(step, body, key)
            if fault == "lost":
                self.close_connection = True
                return None
            return self._answer(200, answer)

        def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
