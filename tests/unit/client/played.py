"""Flows done without sockets and without waiting: a played server and a clock that only sleeping moves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from longrun.client.http.retry import Rules
from longrun.client.http.steps import Answer, Flow, Give, Lost, Read, Request, Send, Sleep

REFUSED = Lost("ConnectError", refused=True)
BROKEN = Lost("ReadError")
SILENT = Lost("ReadTimeout", silent=True)


def answer(status: int = 200, body: Any = None, **headers: str) -> Answer:
    """An answer with a JSON body; `retry_after="3"` is the header `retry-after: 3`."""
    content = b"" if body is None else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): text for name, text in headers.items()}, content, "http://x/y")


def problem(status: int, code: str, **members: Any) -> Answer:
    return answer(status, {"code": code, "detail": "words", **members})


@dataclass
class Stream:
    """A stream of these pieces; after them it ends, unless the last one is a `Lost`."""

    pieces: Sequence[bytes | Lost]
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream; charset=utf-8"})


@dataclass
class Played:
    """Answers from the front of `replies`; the last one stays. An answer to a request that waits takes `takes` seconds."""

    replies: list[Answer | Lost | Stream]
    takes: float = 0.0
    dice: float = 1.0
    now: float = 100.0
    requests: list[Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    given: list[Any] = field(default_factory=list)
    _pieces: list[bytes | Lost] = field(default_factory=list)

    def rules(self, retry_for: float = 30.0, refused_for: float | None = None) -> Rules:
        patient = retry_for if refused_for is None else refused_for
        return Rules("http://x", retry_for, patient, self.said.append, lambda: self.now, lambda: self.dice)

    def run(self, flow: Flow[Any]) -> Any:
        reply: Any = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as end:
                return end.value
            match step:
                case Give(value):
                    self.given.append(value)
                    reply = None
                case Sleep(seconds):
                    self.slept.append(seconds)
                    self.now += seconds
                    reply = None
                case Send(request):
                    reply = self._reply(request)
                case Read():
                    reply = self._pieces.pop(0) if self._pieces else b""
                    if reply == SILENT:
                        self.now += 45

    def _reply(self, request: Request) -> Answer | Lost:
        self.requests.append(request)
        self.now += self.takes
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Stream):
            self._pieces = list(reply.pieces)
            return Answer(reply.status, reply.headers)
        return reply
