"""Connections that go to addresses which were checked, and to no other, and that read no more than they may."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Sequence

import httpcore
from h11 import _abnf, _readers

from longrun.webhooks.addresses import Address

#: Bytes taken from a socket at once. It bounds how long parsing them holds up the event loop.
_PIECE = 16 * 1024
#: So many reads, or pieces of a body, of any size are fine; beyond, they must have so many bytes on average.
PIECES, BYTES_PER_PIECE = 10_000, 512
# h11 tries each space behind the colon of a header as the last one: 60 KB of them, and a byte that is not allowed, took seconds. Here all
# of them are taken at once. What matches is the same.
_HEADER = re.compile(_abnf.header_field.replace(_abnf.OWS, f"{_abnf.OWS}+").encode("ascii"))
_readers.header_field_re = _HEADER


class TooMuch(httpcore.ReadError):
    """The other side has sent more than the connection may read."""


class Meter:
    """What a connection may still read. A limit on the body alone would let endless heads or the framing of tiny chunks through.

    Attributes:
        left: bytes, heads and the framing of chunks included.
    """

    __slots__ = ("_bytes", "_reads", "left")

    def __init__(self, left: int) -> None:
        self.left, self._reads, self._bytes = left, 0, 0

    def check(self) -> None:
        """Before each read. Raises TooMuch."""
        if self.left <= 0 or (self._reads > PIECES and self._bytes < self._reads * BYTES_PER_PIECE):
            raise TooMuch("too much was sent, or in too many tiny pieces")

    def count(self, data: bytes) -> None:
        """After each read."""
        self.left -= len(data)
        self._reads += 1
        self._bytes += len(data)


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to these addresses in turn, whatever the name: it is resolved once, where it is checked, and not again here.

    TLS and the `Host` header go on using the name, since they never see the address.

    Args:
        addresses: where to connect, the first that answers.
        timeout: seconds for each of them.
        meter: what may be read.
    """

    def __init__(self, addresses: Sequence[Address], *, timeout: float, meter: Meter) -> None:
        self._addresses = addresses
        self._timeout = timeout
        self._meter = meter
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
                return _Metered(await self._sockets.connect_tcp(str(address), port, timeout=self._timeout), self._meter)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed


class _Metered(httpcore.AsyncNetworkStream):
    """A stream of which no more is read than the meter allows."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, meter: Meter) -> None:
        self._stream = stream
        self._meter = meter

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._meter.check()
        data = await self._stream.read(min(max_bytes, _PIECE), timeout)
        self._meter.count(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Metered(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._meter)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)
