"""A webhook receiver that behaves as it is told, and notes what it got."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError
from tests.chaos.history import Delivery

#: Settings with a schedule of moments instead of days, and with enough tries to outlast what tests do.
WEBHOOKS_AT_ONCE = {
    "LONGRUN_ALLOWED_NETWORKS": "127.0.0.0/8",
    "LONGRUN_WEBHOOK_SCHEDULE": ",".join(["0", "0.2", *["0.5"] * 60]),
    "LONGRUN_WEBHOOK_TIMEOUT": "1",
}
SECRET = "whsec_" + "bG9uZ3J1biB0ZXN0cyBzaWduIHdpdGggdGhpcyBzZWNyZXQ="


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver answers, after `pause` seconds."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0


#: The answer to a message that has come `n` times before, by n.
Behaviour = Callable[[int], Answer]


def well(_: int) -> Answer:
    """Takes everything."""
    return Answer()


def at_first(*answers: Answer) -> Behaviour:
    """These answers to the first tries of each message, then success."""
    return lambda tries: answers[tries] if tries < len(answers) else Answer()


class _Server(ThreadingHTTPServer):
    # With the default of 5, of thirty connections at once some are dropped and tried again after a second: then this host counts as slow.
    request_queue_size = 128


class Receiver:
    """A context manager: an HTTP server on a port of loopback, by default a free one.

    Args:
        behave: how it answers; may be changed at any time.

    Attributes:
        deliveries: every request, in order of arrival, with the answer it got.
        requests: the same as headers and body.
    """

    def __init__(self, behave: Behaviour = well, *, port: int = 0) -> None:
        self.behave = behave
        self.deliveries: list[Delivery] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="receiver")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def hook(self, *events: str) -> dict[str, Any]:
        """The member `webhook` of a submit that is delivered here."""
        return {"url": self.url, "secret": SECRET} | ({"events": list(events)} if events else {})

    def took(self, job_id: str) -> list[Delivery]:
        """The deliveries of a job that were answered with success."""
        with self._lock:
            return [each for each in self.deliveries if each.job_id == job_id and 200 <= each.answered < 300]

    def _note(self, headers: dict[str, str], body: bytes) -> Answer:
        message_id, came = headers.get("webhook-id", ""), time.monotonic()
        try:
            Webhook(SECRET).verify(body, headers)
            genuine = True
        except WebhookVerificationError:
            genuine = False
        message = json.loads(body)
        with self._lock:
            self.requests.append((headers, body))
            answer = self.behave(sum(each.message_id == message_id for each in self.deliveries))
            data = message["data"]
            self.deliveries.append(
                Delivery(message_id, message["type"], data.get("id", ""), data.get("status", ""), genuine, answer.status, came)
            )
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = receiver._note({name.lower(): value for name, value in self.headers.items()}, body)
                time.sleep(answer.pause)
                self.send_response(answer.status)
                for name, value in {**answer.headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: tests print what they need."""

        return Handler
