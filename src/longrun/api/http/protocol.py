"""HTTP/1.1 as uvicorn's fast parser speaks it, with an end to the heads of requests and one write for an answer.

That parser gathers a header however long it is, before anybody is asked for a key.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a request's line and headers, of its trailers, and of what stands around a chunk; a read more of them may be looked at.
MOST_HEAD = 64 * 1024


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 that counts what comes before a head is complete, and between the pieces of a body."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._gathered = 0

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._gathered += len(data)
        super().data_received(data)
        if self._gathered > MOST_HEAD and not self.transport.is_closing():
            if self.cycle is not None and not self.cycle.response_complete:
                self.transport.abort()  # an answer is on its way: nothing else can be said in between
            else:
                self.send_400_response(f"The head of a request may have {MOST_HEAD} bytes.")

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._gathered = 0
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.cycle.scope["method"] != "HEAD":  # to which nothing follows
            self.cycle.transport = OneWrite(self.transport, self.loop)  # type: ignore[assignment]  # it has what a cycle calls

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._gathered = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has ended."""
        self._gathered = 0
        super().on_message_complete()


class OneWrite:
    """A transport that sends the head of an answer together with what follows in the same turn of the loop.

    uvicorn writes them apart, and uvloop passes on at once what it is given: two system calls and two packets for each answer, and a caller
    that wakes up twice. They cost a fifth of a submit.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: bytes | None = b""

    def write(self, data: bytes) -> None:
        """See asyncio. What comes first is held, at most until the end of this turn."""
        if self._held is None:
            self._transport.write(data)
        elif not self._held:
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            held, self._held = self._held, None
            self._transport.write(held + data)

    def close(self) -> None:
        """See asyncio."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        held, self._held = self._held, None
        if held and not self._transport.is_closing():
            self._transport.write(held)
