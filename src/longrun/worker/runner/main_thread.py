"""The main thread as the place where jobs run.

Python runs signal handlers there, the author's too, between any two steps, and what one of them raises arises there. So nothing is done
there that must not be cut short: jobs are taken and outcomes sent on other threads.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from longrun.worker.runner.own_log import log
from longrun.worker.runner.raised import describe

#: Seconds after which a call that has not begun is asked for again: a handler may have raised just when it was taken.
_AGAIN = 0.5


class _Call:
    """Something to run, once."""

    def __init__(self, code: Callable[[], None]) -> None:
        self._code = code
        self.begun = False
        self.ended = threading.Event()

    def run(self) -> None:
        if self.begun:
            return
        self.begun = True
        try:
            self._code()
        finally:
            self.ended.set()


class MainThread:
    """Runs on the main thread what other threads ask for."""

    def __init__(self) -> None:
        self._call: _Call | None = None
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run(self, code: Callable[[], None]) -> None:
        """Have `code` run there; returns when it has ended. One call at a time."""
        call = self._call = _Call(code)
        self._wake.put(None)
        while not call.ended.wait(_AGAIN):
            if not call.begun and self._wake.empty():
                self._wake.put(None)

    def serve(self) -> NoReturn:
        """Run what is asked for, for ever; on the main thread."""
        while True:
            try:
                self._wake.get()
                if self._call is not None:
                    self._call.run()
            except BaseException as error:
                log.warning("a signal handler of the model raised between two jobs", exception=describe(error).text)


class Outbox:
    """Sends frames on a thread of its own: of a frame that was begun nothing is left out, whatever arises in the thread that sends it.

    Args:
        send: sends one.
    """

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send
        self._frames: queue.SimpleQueue[tuple[tuple[Any, ...], threading.Event]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="outbox", daemon=True).start()

    def send(self, *members: Any) -> None:
        """Send a frame; it has left when this returns."""
        sent = threading.Event()
        self._frames.put((members, sent))
        sent.wait()

    def _work(self) -> None:
        while True:
            members, sent = self._frames.get()
            self._send(*members)
            sent.set()
