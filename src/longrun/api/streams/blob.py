"""Answers that are too large to be held: stored bytes, and what is made of them as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Send

#: Bytes that are handed to the server at once: more of them would wait there for a slow reader.
_PIECE = 64 * 1024


class BlobResponse(StreamingResponse):
    """A stream of bytes in small pieces. A reader that takes nothing is the server's business (`http.write_timeout`)."""

    def __init__(self, chunks: AsyncIterator[bytes], status: int, headers: dict[str, str]) -> None:
        super().__init__(chunks, status, headers)
        self._chunks: Any = chunks

    async def stream_response(self, send: Send) -> None:
        """As Starlette's."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # Left by an exception, what is open in the blob store is closed now and not some day.
        async with aclosing(self._chunks):
            async for chunk in self._chunks:
                for at in range(0, len(chunk), _PIECE):
                    await send({"type": "http.response.body", "body": chunk[at : at + _PIECE], "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
