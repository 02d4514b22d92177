"""The runner's end of the pipe to its worker."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

from longrun.worker.frames import FrameBuffer, pack

_PIECE = 1 << 16


class Pipe:
    """Blocking frames over a socket; any thread may send, one thread reads. Processes that the model makes have no part in it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._lock = sock, threading.Lock()
        self._frames = self._read()
        sock.set_inheritable(False)
        os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        # Whoever held the lock in the parent does not exist here; and a frame that is sent all the same ends the child.
        self._lock = threading.Lock()
        self._sock.close()

    def send(self, *members: Any) -> None:
        """Send a frame. When the worker is gone there is nobody to run for: the process ends."""
        data = pack(*members)
        try:
            with self._lock:
                self._sock.sendall(data)
        except OSError:
            os._exit(1)

    def frames(self) -> Iterator[list[Any]]:
        """The frames that arrive and that nobody has taken yet, until the worker closes the pipe or dies."""
        return self._frames

    def _read(self) -> Iterator[list[Any]]:
        buffer = FrameBuffer()
        while data := self._received():
            yield from buffer.feed(data)

    def _received(self) -> bytes:
        try:
            return self._sock.recv(_PIECE)
        except ConnectionResetError:  # it died before it had read all that was sent to it
            return b""
