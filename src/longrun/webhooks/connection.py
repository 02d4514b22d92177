"""Connections that go to addresses which were checked, and to no other, and that read no more than they may."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence

import httpcore

from longrun.webhooks.addresses import Address

#: Bytes taken from a socket at once. It bounds how long parsing them holds up the event loop.
_PIECE = 16 * 1024


class TooMuch(httpcore.ReadError):
    """The other side has sent more than the connection may read."""


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to these addresses in turn, whatever the name: it is resolved once, where it is checked, and not again here.

    TLS and the `Host` header go on using the name, since they never see the address.

    Args:
        addresses: where to connect, the first that answers.
        timeout: seconds for each of them.
        most: bytes that may be read in all, heads and the framing of chunks included.
    """

    def __init__(self, addresses: Sequence[Address], *, timeout: float, most: int) -> None:
        self._addresses = addresses
        self._timeout = timeout
        self._most = most
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """The first connection that comes about.

        Raises:
            httpcore.ConnectError, httpcore.ConnectTimeout: none did; this is the last one's.
        """
        failed: Exception = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                return _Metered(await self._sockets.connect_tcp(str(address), port, timeout=self._timeout), self._most)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed


class _Metered(httpcore.AsyncNetworkStream):
    """A stream that counts what is read: a limit on the body alone would let endless heads or the framing of tiny chunks through."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, most: int) -> None:
        self._stream = stream
        self._left = most

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._left <= 0:
            raise TooMuch("too much was sent")
        data = await self._stream.read(min(max_bytes, _PIECE), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Metered(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._left)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)
