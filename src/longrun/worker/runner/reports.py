"""What the jobs of a runner say, on its way to the worker: the first word at once, what follows it closely in one frame."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import orjson

from longrun.worker.runner.capture import Capture
from longrun.worker.runner.files import Keeper
from longrun.worker.runner.lines import readable, shortened
from longrun.worker.runner.pipe import Pipe
from longrun.worker.runner.settings import RunnerSettings

if TYPE_CHECKING:
    from longrun.worker.runner.running import Running

#: Seconds between two frames of events of one job. A reader sees no difference, and a loop that reports a million times sends a hundred
#: frames a second. What is said is out of the process after this time, whatever becomes of the process.
_GATHER = 0.01
#: Most events of a frame, and bytes of outputs in it: at that size it goes at once.
_MOST, _LARGE = 500, 1 << 18
#: Kinds of which only the latest matters when nothing came in between.
_LATEST = ("progress", "usage")


class Reports:
    """Gathers the events of jobs. Any thread may report; those of one job leave in the order they came.

    Args:
        pipe: to the worker.
        capture: the output of the process; None = not captured.
        max_output: bytes that the output of a job may have.
        keeper: of files.
    """

    def __init__(self, pipe: Pipe, capture: Capture | None = None, max_output: int = 1 << 62, keeper: Keeper | None = None) -> None:
        self.pipe, self.max_output = pipe, max_output
        self.keeper = keeper or Keeper(RunnerSettings())
        self.capture = capture or Capture()
        self._late: set[Running] = set()
        self._wake = threading.Event()
        self._pid = os.getpid()
        threading.Thread(target=self._send_late, name="reports", daemon=True).start()

    def add(self, running: Running, kind: str, data: bytes | dict[str, Any]) -> None:
        """Take an event. Events that come after the job's end, or from a process that the model forked, count for nothing."""
        with self.capture.lock:
            if running.closed or self.capture.forked:
                return
            events = running.events
            if kind in _LATEST and events and events[-1][0] == kind:
                events[-1] = (kind, data)
            else:
                events.append((kind, data))
                running.size += len(data)
            if time.monotonic() - running.sent >= _GATHER or len(events) >= _MOST or running.size >= _LARGE:
                self.flush(running)
            elif running not in self._late:
                self._late.add(running)
                self._wake.set()

    def flush(self, running: Running) -> None:
        """Send what is waiting."""
        if running.events:
            events, running.events, running.size = running.events, [], 0
            running.sent = time.monotonic()
            packed = [(kind, data if isinstance(data, bytes) else to_json(data)) for kind, data in events]
            self.pipe.send("events", running.id, running.attempt, packed)

    def _send_late(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_GATHER)
            with self.capture.lock:
                self._wake.clear()
                late, self._late = self._late, set()
                for running in late:
                    self.flush(running)


def to_json(data: dict[str, Any]) -> bytes:
    """The data of an event. What a model says about its work must never end the work: text that is too long or no Unicode is altered."""
    short = {name: shortened(value) if isinstance(value, str) else value for name, value in data.items()}
    try:
        return orjson.dumps(short)
    except TypeError:
        return orjson.dumps(
            {name: value if isinstance(value, int | float | None) else readable(str(value)) for name, value in short.items()}
        )
