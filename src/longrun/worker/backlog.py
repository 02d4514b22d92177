"""Events of one run that the store does not have yet: pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

#: Most events of one write, and bytes of their data.
_MOST, _LARGE = 500, 1 << 20
#: Most events of one job that wait for the store, and bytes of their data: more than that of lines is not kept.
_WAITING, _WAITING_BYTES = 20_000, 4 << 20


@dataclass(slots=True)
class Backlog:
    """In the order in which they are to be stored."""

    events: deque[tuple[str, bytes]] = field(default_factory=deque)  #: type and data (JSON)
    size: int = 0  #: bytes of their data
    stored: int = 0  #: how many were taken from here so far: the number of the first of `events`
    progress: bytes = b""  #: the latest, not yet sent; empty = none
    usage: bytes = b""  #: sums that the model has reported so far (JSON)
    left_out: int = 0  #: lines that were too many to be kept, and that is not said yet
    files: int = 0  #: events of files that the store has not confirmed
    made: list[bytes] = field(default_factory=list)  #: data of all events of files
    _offered: int = 0  #: the first so many were sent once, and may have arrived

    def add(self, kind: str, data: bytes) -> None:
        """Keep an event. Of progress in a row only the last one counts; of lines some are left out, of what the model yields nothing."""
        if kind == "usage":
            self.usage = data
            return
        if kind == "progress":
            self.progress = data
            if len(self.events) > self._offered and self.events[-1][0] == "progress":
                self.size += len(data) - len(self.events[-1][1])
                self.events[-1] = (kind, data)
                return
        if kind == "file":
            self.files += 1
            self.made.append(data)
        if kind == "log" and (len(self.events) >= _WAITING or self.size >= _WAITING_BYTES):
            self.left_out += 1
            return
        self._append(kind, data)

    def take(self) -> tuple[int, bytes, list[tuple[str, bytes]]]:
        """Number of the first event, progress and events of the next write."""
        if self.left_out and len(self.events) < _WAITING / 2:
            self.say_left_out()
        first, progress, size = self.stored, self.progress, 0
        events: list[tuple[str, bytes]] = []
        while self.events and len(events) < _MOST and size < _LARGE:
            events.append(self.events.popleft())
            size += len(events[-1][1])
        self.size -= size
        self._offered = max(0, self._offered - len(events))
        self.stored, self.progress = first + len(events), b""
        return first, progress, events

    def put_back(self, first: int, progress: bytes, events: Sequence[tuple[str, bytes]]) -> None:
        """A write failed. The store skips what it has by the number of the first event, so these must stay what they are."""
        self.events.extendleft(reversed(events))
        self.size += sum(len(data) for _, data in events)
        self._offered = max(self._offered, len(events))
        self.stored, self.progress = first, self.progress or progress

    def repeat_files(self) -> None:
        """Record all files once more: the store has lost some. It passes over those that it has."""
        self.files += len(self.made)
        for data in self.made:
            self._append("file", data)

    def say_left_out(self) -> None:
        """Add a line that says how many were left out."""
        if self.left_out:
            count, self.left_out = self.left_out, 0
            message = f"{count:,} {'line' if count == 1 else 'lines'} left out: the store did not take them in time"
            self._append("log", orjson.dumps({"level": "warning", "message": message}))

    def _append(self, kind: str, data: bytes) -> None:
        self.events.append((kind, data))
        self.size += len(data)
