"""Connections whose reader takes nothing: they are cut off, so that dead readers hold no memory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import NamedTuple

#: Seconds without a byte leaving for a connection that is full: longer than a hiccup of the network or a tab that slept for a moment,
#: shorter than what a thousand dead readers may hold memory for.
PATIENCE = 30.0
#: Bytes that wait in a connection when its writer is held back, and when it may go on (the marks of asyncio and uvloop).
_FULL, _FREE = 64 * 1024, 16 * 1024
#: Bytes that the kernel takes before they can be sent. Without it megabytes vanish there at once, and a slow reader looks like a dead one
#: until a third of them has been read.
_UNSENT = 16 * 1024


class _Held(NamedTuple):
    size: int
    since: float


class WriteTimeout:
    """Finds them by looking at all connections again and again.

    A connection counts from the moment it is full. From then on nothing is added to it until it has drained, so every byte that leaves
    shows; a reader that takes any is slow, not dead, and begins anew.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._held: dict[asyncio.WriteTransport, _Held] = {}

    def look(self, connections: Iterable[asyncio.WriteTransport], now: float) -> list[asyncio.WriteTransport]:
        """Those of `connections` from which nothing has left for too long; `now` in seconds."""
        seen: dict[asyncio.WriteTransport, _Held] = {}
        for connection in connections:
            size = connection.get_write_buffer_size()
            held = self._held.get(connection)
            if held is None and size > _FULL:
                seen[connection] = _Held(size, now)
            elif held is not None and size > _FREE:
                # Pings may be added to a connection that is full.
                seen[connection] = _Held(size, now if size < held.size else held.since)
        self._held = seen
        return [connection for connection, held in seen.items() if now - held.since >= self._patience]


def bound_unsent(listening: socket.socket) -> None:
    """Have the connections that this socket accepts keep little in the kernel, where the system can do that (Linux, macOS)."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and listening.family in (socket.AF_INET, socket.AF_INET6):
        listening.setsockopt(socket.IPPROTO_TCP, option, _UNSENT)
