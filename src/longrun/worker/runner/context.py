"""What the runs of a process share. An event of theirs leaves at once, or in one frame with those that follow closely."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import sleep

from longrun.worker.code_times import CodeTimes
from longrun.worker.runner.capture import Capture, Speaker
from longrun.worker.runner.job_files import RunnerBlobs
from longrun.worker.runner.settings import RunnerSettings

#: Seconds between two frames of events of one job. A reader sees no difference, and a loop that reports a million times sends a hundred
#: frames a second. What is said is out of the process after this time, whatever becomes of the process.
GATHER = 0.01


class Context:
    """What the runs of this process share.

    Args:
        send: sends one frame to the worker (see `worker.frames`); any thread may do so.
        capture: None = output is not captured.
    """

    def __init__(self, send: Callable[..., None], settings: RunnerSettings | None = None, capture: Capture | None = None) -> None:
        settings = settings or RunnerSettings()
        self.send, self.capture, self.max_output = send, capture or Capture(), settings.max_output
        self.blobs, self.times = RunnerBlobs(settings), CodeTimes(settings.times)
        if settings.times >= 0:
            os.close(settings.times)
        self._late: set[Speaker] = set()
        self._wake = threading.Event()
        threading.Thread(target=self._send_late, name="events", daemon=True).start()

    def flush_soon(self, run: Speaker) -> None:
        """Have its events sent in a moment, with those that follow until then; under the lock."""
        if run not in self._late:
            self._late.add(run)
            self._wake.set()

    def _send_late(self) -> None:
        while True:
            self._wake.wait()
            sleep(GATHER)
            with self.capture.lock:
                self._wake.clear()
                late, self._late = self._late, set()
                for run in late:
                    run.flush()
