"""How to talk to each service: the bytes of its requests, and what its answers say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

TEXT = "a photograph of a lighthouse at dusk"
ACCEPTED = frozenset({200, 202})


class End(NamedTuple):
    """How a job ended: whether it did its work, and after how many attempts (1 where the service does not count them)."""

    well: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class Dialect:
    """One service's way of being asked.

    Args:
        submit: a whole submit request.
        submit_and_wait: the same, answered when the job has ended; None where the service has no such thing.
        wait: whether a status request itself waits for the end; otherwise the client asks again and again.
    """

    submit: bytes
    submit_and_wait: bytes | None
    status_path: str
    wait: bool

    def status(self, job_id: str) -> bytes:
        """A whole request for the status of a job."""
        head = {"Prefer": "wait=60"} if self.wait else {}
        return request("GET", self.status_path + job_id, head)

    def end(self, body: bytes) -> End | None:
        """How the job ended according to a status answer, None while it has not."""
        answer: dict[str, Any] = json.loads(body)
        if self.wait:
            return End(answer["status"] == "succeeded", answer["attempt"]) if answer["terminal"] else None
        return None if answer["status"] in ("PENDING", "STARTED", "RETRY") else End(answer["status"] == "SUCCESS", 1)


def request(method: str, path: str, headers: dict[str, str], body: Any = None) -> bytes:
    """An HTTP/1.1 request that keeps the connection open."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


_SUBMIT = "/api/v1/models/noop/jobs"
_BODY = {"input": {"text": TEXT}}

LONGRUN = Dialect(
    submit=request("POST", _SUBMIT, {}, _BODY),
    submit_and_wait=request("POST", _SUBMIT, {"Prefer": "wait=30"}, _BODY),
    status_path="/api/v1/jobs/",
    wait=True,
)
HANDWRITTEN = Dialect(submit=request("POST", "/submit", {}, {"text": TEXT}), submit_and_wait=None, status_path="/status/", wait=False)
CEILING = Dialect(submit=request("POST", "/submit", {}, _BODY), submit_and_wait=None, status_path="/status/", wait=False)

DIALECTS = {"longrun": LONGRUN, "handwritten": HANDWRITTEN, "ceiling": CEILING}
