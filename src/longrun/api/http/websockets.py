"""WebSockets as uvicorn speaks them, with an answer to every handshake and an end to what a client may have held for it."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

#: Pieces that a message may come in: all that a client may say has 16 bytes, and an empty piece has none.
_MOST_PIECES = 1024
_REFUSED = b"The head of the handshake was not understood, or is too long."


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection, from its handshake on."""

    _pieces = 0

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.abort()  # nothing may be said until the handshake is answered, and nothing else can be said to that
            return
        super().data_received(data)
        if not self.handshake_initiated:
            # The whole head has come at once, and the parser of `websockets` takes no other: it would wait for ever.
            self.handshake_initiated = self.handshake_complete = self.close_sent = True
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%s" % (len(_REFUSED), _REFUSED)
            )
            self.transport.close()

    async def send(self, message: Any) -> None:
        """See ASGI. A handshake that was refused with an answer is over, which uvicorn would log as an error of the application."""
        await super().send(message)
        self.handshake_complete = self.handshake_complete or self.close_sent

    def handle_cont(self, event: Any) -> None:
        """A further piece of a message."""
        self._pieces = 0 if event.fin else self._pieces + 1
        if self._pieces <= _MOST_PIECES:
            super().handle_cont(event)
        elif not self.close_sent:
            self.conn.fail(1009, f"a message may have {_MOST_PIECES} pieces")
            self.handle_parser_exception()

    def handle_ping(self) -> None:
        """The client asks whether we are there. One that takes nothing of what it is sent gets no answers to keep for it."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()
