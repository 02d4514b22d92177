"""Says where an import of the models stands when it takes long: at a server that the file starts, at a large library, at a download."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from longrun.log import Log
from longrun.models.place import is_authors

log = Log("longrun.models")
#: Seconds until it is said.
LONG = 10.0


@contextmanager
def report_slow_import(target: str, after: float = LONG) -> Iterator[None]:
    """While `target` is imported on this thread: log one line if that is not done after so many seconds."""
    thread = threading.get_ident()

    def report() -> None:
        place = _place(sys._current_frames().get(thread))
        log.warning("the models are still being imported", app=target, seconds=after, at=place)

    timer = threading.Timer(after, report)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _place(frame: FrameType | None) -> str | None:
    """The line of the author's that runs, or that has called what runs."""
    while frame is not None:
        if is_authors(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None
