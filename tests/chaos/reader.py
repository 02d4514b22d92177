"""A reader of a job's events that goes on after the last whole event, on another connection, however often one breaks."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
from httpx_sse import EventSource

#: Answers that ask to try again; anything else but success is a fault of the service.
TRY_AGAIN = frozenset({503, 507})
_LONGEST = 60.0  # seconds without a byte: heartbeats come every 15 s


class Reader:
    """Reads the stream of one job to its end.

    Args:
        urls: of the API's replicas; each connection goes to the next one.
        job_id: whose events.
        events: takes every event, in the order in which they came.
        hang_up: gives the bytes after which a connection is dropped by the reader itself; None for none.
    """

    def __init__(
        self, urls: Sequence[str], job_id: str, events: list[dict[str, Any]], *, hang_up: Callable[[], int | None] = lambda: None
    ) -> None:
        self._urls, self._path, self._hang_up = itertools.cycle(urls), f"/api/v1/jobs/{job_id}/events", hang_up
        self.events = events
        self.connections = 0

    def read(self, *, stop: Callable[[], bool] = lambda: False) -> str | None:
        """Read until the last event has come or `stop()`; an answer that no reader should get, or None."""
        with httpx.Client(timeout=_LONGEST) as http:
            while not stop():
                self.connections += 1
                last = {"Last-Event-ID": str(self.events[-1]["seq"])} if self.events else {}
                headers = {"Accept": "text/event-stream", **last}
                try:
                    with http.stream("GET", next(self._urls) + self._path, headers=headers) as answer:
                        if answer.status_code == 204:
                            return None
                        if answer.status_code == 200:
                            self._take(answer, stop)
                            if self.events and self.events[-1]["type"] == "done":
                                return None
                        elif answer.status_code not in TRY_AGAIN:
                            return f"stream of {self._path}: {answer.status_code}"
                except httpx.TransportError:
                    pass
                time.sleep(0.02)
        return None

    def _take(self, answer: httpx.Response, stop: Callable[[], bool]) -> None:
        if (size := self._hang_up()) is not None:
            answer.stream = _Beginning(answer.stream, size)  # type: ignore[arg-type]
        for event in EventSource(answer).iter_sse():
            told = event.json()
            assert event.id == str(told["seq"]), event
            self.events.append(told)
            if told["type"] == "done" or stop():
                return


class _Beginning(httpx.SyncByteStream):
    """So many bytes of a stream, and then its end."""

    def __init__(self, stream: httpx.SyncByteStream, size: int) -> None:
        self._stream, self._left = stream, size

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            yield piece[: self._left]
            self._left -= len(piece)
            if self._left <= 0:
                raise httpx.ReadError("the reader hangs up")

    def close(self) -> None:
        self._stream.close()


def assembled(events: Sequence[dict[str, Any]]) -> list[Any]:
    """What a reader has of the output: values since the latest `started`, which says that those before are void."""
    values: list[Any] = []
    for event in events:
        if event["type"] == "started":
            values = []
        elif event["type"] == "output":
            values.append(event["data"]["value"])
    return values


def now_and_then(dice: random.Random) -> Callable[[], int | None]:
    """For `hang_up`: every other connection is dropped somewhere in its first few events."""
    return lambda: dice.randint(1, 2_000) if dice.random() < 0.5 else None
