"""HTTP/1.1 as uvicorn's fast parser speaks it, with an end to the heads of requests, one write for an answer, and upgrades that are read
as what they are.

That parser gathers a header however long it is, before anybody is asked for a key. Of a request that asks for an upgrade it reads the head
only, whatever else the head announces; uvicorn then forgets the body, and what was sent behind it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a request's line and headers, of its trailers, and of what stands around a chunk; a read more of them may be looked at.
MOST_HEAD = 64 * 1024
_INVALID = "Invalid HTTP request received."
_EARLY = "Nothing may be sent behind the handshake of a WebSocket until it is answered."


def is_handshake(method: bytes, http_version: str, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a request that asks for an upgrade is the complete handshake of a WebSocket (RFC 6455, 4.2.1).

    Args:
        headers: names in lower case, and values.
    """
    given: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        given.setdefault(name, []).append(value)
    if method != b"GET" or http_version != "1.1" or b"transfer-encoding" in given or given.get(b"content-length", [b"0"]) != [b"0"]:
        return False  # a handshake has no body
    if [value.lower() for value in given.get(b"upgrade", [])] != [b"websocket"] or given.get(b"sec-websocket-version") != [b"13"]:
        return False
    keys = given.get(b"sec-websocket-key", [])
    try:
        return len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
    except binascii.Error:
        return False


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 that counts what comes before a head is complete, and between the pieces of a body.

    A handshake that is not complete, and any other upgrade, is a request that asks for none: its body is read, it is answered, and what
    follows it is the next request.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._gathered = 0
        self._handshake = False  # the request whose head has ended is one

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._gathered += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.logger.warning(_INVALID)
            self.send_400_response(_INVALID)
        if self._gathered > MOST_HEAD and not self.transport.is_closing():
            if self.cycle is not None and not self.cycle.response_complete:
                self.transport.abort()  # an answer is on its way: nothing else can be said in between
            else:
                self.send_400_response(f"The head of a request may have {MOST_HEAD} bytes.")

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            else:
                return
            if self._handshake:
                return self.send_400_response(_EARLY) if rest else self.handle_websocket_upgrade()
            self._read_as_plain_request()

    def _read_as_plain_request(self) -> None:
        """Have the head that asked for an upgrade read once more, without that."""
        head = [self.scope["method"].encode(), b" ", self.url, b" HTTP/", self.scope["http_version"].encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        # The old one takes no more after a head of HTTP/1.0.
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.parser.feed_data(b"".join([*head, b"\r\n"]))

    def _should_upgrade(self) -> bool:
        return self._handshake

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._gathered = 0
        if self.parser.should_upgrade() and self._is_upgrade():
            return
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.cycle.scope["method"] != "HEAD":  # to which nothing follows
            self.cycle.transport = OneWrite(self.transport, self.loop)  # type: ignore[assignment]  # it has what a cycle calls

    def _is_upgrade(self) -> bool:
        """Notes what the head asks for, for `_feed`, which comes next."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":
            raise ValueError("there is no tunnel here")
        self.scope["method"], self.scope["http_version"] = method.decode("ascii"), version
        # One that comes behind a request must not take its connection away before that is answered.
        free = self.cycle is None or self.cycle.response_complete
        self._handshake = free and is_handshake(method, version, self.headers)
        return True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._gathered = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has ended."""
        self._gathered = 0
        if not self.parser.should_upgrade():
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
