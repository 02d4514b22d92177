"""What models buy from: a real HTTP server that answers every call, and keeps a list of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Call:
    """A paid call: when it came (seconds since the epoch), for what, under which key, by which attempt of which job."""

    at: float
    step: str
    key: str
    job: str
    attempt: int


class Provider:
    """A context manager; `url` goes to the models by CHAOS_PROVIDER. `says`: the answer to a step, from which calls came for it before."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.says: Callable[[str], str] = lambda step: f"paid {step}"
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = dict(parse_qsl(urlsplit(self.path).query))
                provider.calls.append(Call(time.time(), asked["step"], asked["key"], asked["job"], int(asked["attempt"])))
                time.sleep(float(asked["seconds"]))
                answer = provider.says(asked["step"]).encode()
                try:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:
                    pass  # who asked was killed

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 1024

            def handle_error(self, *args: Any) -> None:
                pass  # who asked was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True, name="provider")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def for_(self, step: str) -> list[Call]:
        """The calls for a step, in the order in which they came."""
        return [call for call in self.calls if call.step == step]
