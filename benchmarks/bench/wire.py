"""A light HTTP/1.1 client on bare sockets: it must cost much less than what it measures."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

from bench.errors import CheckError


class Answer(NamedTuple):
    """Status and body of a response."""

    status: int
    body: bytes


class Wire(asyncio.Protocol):
    """One kept-alive connection; one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are of no common class

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits."""
        self._fail(f"the service closed a connection that waited for an answer ({exc})")

    def data_received(self, data: bytes) -> None:
        """Hand over the response once it is whole."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            self._fail(f"an answer without Content-Length: {head[:200]!r}")
            return
        line_end = head.find(b"\r\n", at + 2)
        total = end + 4 + int(head[at + 17 : line_end if line_end > 0 else None])
        if len(self._buffer) < total:
            return
        answer = Answer(int(head[9:12]), self._buffer[end + 4 : total])
        self._buffer = self._buffer[total:]
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)

    def _fail(self, why: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(CheckError(why))

    async def ask(self, request: bytes) -> Answer:
        """Send a whole request and return its answer."""
        if self._transport is None or self._transport.is_closing():
            raise CheckError("the service closed a kept-alive connection")
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


async def connect(port: int) -> Wire:
    """A new connection to a service on this machine."""
    _, wire = await asyncio.get_running_loop().create_connection(Wire, "127.0.0.1", port)
    return wire
