"""Heads of requests that have an end: uvicorn's fast parser gathers a header however long it is, before anybody is asked for a key."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a request's line and headers, of its trailers, and of what stands around a chunk; a read more of them may be looked at.
MOST_HEAD = 64 * 1024


class BoundedHeads(HttpToolsProtocol):
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
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._gathered = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has ended."""
        self._gathered = 0
        super().on_message_complete()
