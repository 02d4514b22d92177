"""Bodies that are counted as they come, and what becomes of a connection whose body is not read to its end.

The server would go on reading such a body, however long it is, so the answer ends the connection. Closing it at once would take the answer
from a caller that is still sending: the system resets the connection, and what the caller had not read yet is thrown away there. So the
end of the answer is held back for a moment (RFC 9112, 9.6). Very little more is read in it: what is refused must cost nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from longrun.errors import PayloadTooLarge

#: Bytes of an unread body that the server may go on reading.
_SMALL = 64 * 1024
#: Seconds in which a caller that is still sending can see its answer, and bytes that are read of it meanwhile.
_MOMENT, _LISTEN = 1.0, 32 * 1024


def too_large(limit: int) -> PayloadTooLarge:
    """The problem of a body over its limit."""
    return PayloadTooLarge(f"The body may be {limit:,} bytes at most.", limit=limit)


class Body:
    """A body that is stopped when it is longer than its head said, or when its head did not say.

    Args:
        receive: where it comes from.
        limit: bytes that it may have.

    Attributes:
        size: bytes that have come.
        read: it has come to its end.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit = receive, limit
        self.size, self.read = 0, False

    async def receive(self) -> Message:
        """More of it. Raises PayloadTooLarge."""
        message = await self._next()
        if self.size > self._limit:
            raise too_large(self._limit)
        return message

    async def drop(self) -> None:
        """Give the caller a moment, unless it comes to the end of its body or leaves; read a little, and leave it out."""
        most = self.size + _LISTEN
        with suppress(TimeoutError):
            async with asyncio.timeout(_MOMENT):
                while self.size < most:
                    if self.read or (await self._next())["type"] != "http.request":
                        return
                await asyncio.sleep(_MOMENT)

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.size += len(message.get("body", b""))
            self.read = not message.get("more_body", False)
        return message


def closing_when_unread(scope: Scope, headers: Headers, body: Body, send: Send) -> Send:
    """`send` whose answer ends the connection when much of the body may be left."""
    if scope["type"] != "http" or not worth_closing(headers):
        return send
    closes = False

    async def closing(message: Message) -> None:
        nonlocal closes
        if message["type"] == "http.response.start" and not body.read:
            closes = True
            MutableHeaders(scope=message)["Connection"] = "close"
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        # Who asked whether to send has not begun to.
        if closes and is_last and (body.size or "expect" not in headers):
            await send({**message, "more_body": True})
            await body.drop()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return closing


def worth_closing(headers: Headers) -> bool:
    """Whether a body, left unread, costs more than a new connection: it is long, may be, or is only sent when we ask for it."""
    length = headers.get("content-length", "0")
    small = length.isascii() and length.isdigit() and len(length) < 20 and int(length) <= _SMALL
    return not small or "transfer-encoding" in headers or "expect" in headers
