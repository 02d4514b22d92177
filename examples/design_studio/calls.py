"""A log of calls: one line when a call begins, one when it has finished. What was killed in between has begun and has not finished."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Line:
    """One line of the log.

    Attributes:
        version: of the logo; None: the step is about all of them.
        key: names the piece of work, the same in each of its calls.
        pid: the process that made the call.
        at: seconds since the epoch.
    """

    event: Literal["began", "finished"]
    step: str
    version: int | None
    key: str
    pid: int
    at: float


@dataclass(frozen=True)
class Tally:
    """The calls of one piece of work; `seconds` are those of the calls that finished."""

    step: str
    version: int | None
    began: int
    finished: int
    seconds: float


class CallLog:
    """Appends to a file that many processes share. Without a path nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @contextmanager
    def call(self, step: str, version: int | None = None, key: str = "") -> Iterator[None]:
        """Around a call; one that raises has not finished."""
        self._append(Line("began", step, version, key, os.getpid(), time.time()))
        yield
        self._append(Line("finished", step, version, key, os.getpid(), time.time()))

    def _append(self, line: Line) -> None:
        if self._path is None:
            return
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, json.dumps(line.__dict__).encode() + b"\n")  # one write: lines of two processes never mix
        finally:
            os.close(file)


def read(path: Path) -> list[Line]:
    """All lines so far, in the order in which they were written; none when there is no such file yet."""
    if not path.exists():
        return []
    return [Line(**json.loads(line)) for line in path.read_text().splitlines()]


def tally(lines: Iterable[Line]) -> list[Tally]:
    """What became of each piece of work, in the order in which they first began."""
    pieces: dict[tuple[str, int | None], list[Line]] = {}
    for line in lines:
        pieces.setdefault((line.step, line.version), []).append(line)
    return [_tally(step, version, of) for (step, version), of in pieces.items()]


def _tally(step: str, version: int | None, lines: list[Line]) -> Tally:
    began_at: dict[int, float] = {}  # by process: a call that finished is the one that its process began last
    seconds = 0.0
    for line in lines:
        if line.event == "began":
            began_at[line.pid] = line.at
        else:
            seconds += line.at - began_at[line.pid]
    finished = sum(line.event == "finished" for line in lines)
    return Tally(step, version, len(lines) - finished, finished, seconds)
