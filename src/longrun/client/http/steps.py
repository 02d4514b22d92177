"""The steps with which the client's logic drives its connections.

The logic is written once, as generators (`Flow`) that yield steps and are sent the results. `Connection` and `AsyncConnection` carry the
steps out. So every decision can be tested without a socket or a clock, and both clients behave the same.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from longrun.client.http.body import Streamed

T = TypeVar("T")
Json = dict[str, Any]

ANSWER = 15.0  #: seconds for an answer that has nothing to wait for
UPLOAD = 60.0  #: … after files were sent: where they go to a bucket, its end takes a while
SILENCE = 45.0  #: seconds without a byte after which a stream counts as broken; the server says something every 15 s


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Each may be sent again: a submit carries its key, and whatever else is repeated changes nothing the second time.

    Args:
        method: such as `GET`.
        path: after `/api/v1`, with its query; or a whole URL.
        headers: further headers.
        body: JSON text, a form with files, or JSON lines.
        limit: seconds without a byte after which it counts as not answered.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Streamed | None = None
    limit: float = ANSWER


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered. The names of `headers` are in lower case; `content` is empty where the body is left to `Read`."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""
    url: str = ""

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.content)

    @property
    def is_content(self) -> bool:
        """Whether it is the bytes of a file, or a part of them."""
        return self.status in (200, 206)

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream of server-sent events."""
        return self.status == 200 and self.headers.get("content-type", "").startswith("text/event-stream")


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer, or only a part of it, has come.

    Args:
        reason: in a few words.
        refused: nothing was sent: no connection came about.
        silent: nothing came in time.
        hopeless: it cannot be sent at all; trying again changes nothing.
    """

    reason: str
    refused: bool = False
    silent: bool = False
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request; gives `Answer` or `Lost`.

    Args:
        request: what to send.
        streamed: the body that is left to `Read` if it is the answer's: a stream of events, or the bytes of a file.
    """

    request: Request
    streamed: Literal["events", "content", ""] = ""

    def leaves_open(self, answer: Answer) -> bool:
        """Whether the body of this answer is left to `Read`."""
        return answer.is_stream if self.streamed == "events" else answer.is_content and self.streamed == "content"


@dataclass(frozen=True, slots=True)
class Read:
    """The next bytes of the open stream; gives `bytes`, empty at its end, or `Lost`."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Give:
    """Hand a value to the caller of the client."""

    value: Any


Step = Send | Read | Sleep | Give
Flow = Generator[Step, Any, T]


def send(request: Request, streamed: Literal["events", "content", ""] = "") -> Flow[Answer | Lost]:
    """`Send`, typed."""
    reply: Answer | Lost = yield Send(request, streamed)
    return reply


def read() -> Flow[bytes | Lost]:
    """`Read`, typed."""
    piece: bytes | Lost = yield Read()
    return piece
