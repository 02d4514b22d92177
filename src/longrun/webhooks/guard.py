"""The one client that calls URLs which callers gave. It must not become a way into the operator's network (SSRF).

A URL is read once (`urls`), its host resolved once, every address judged (`addresses`), and the connection made to these addresses
(`connection`). Each call has a connection of its own. Proxies, cookies, credentials, content decoding and HTTP/2 do not exist here:
httpcore, on which httpx stands, does none of them unless asked to.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import cast
from urllib.parse import urljoin

import httpcore
import httpx

from longrun.errors import LongrunError
from longrun.webhooks.addresses import Address, Networks
from longrun.webhooks.connection import BYTES_PER_PIECE, PIECES, Meter, PinnedBackend, TooMuch
from longrun.webhooks.urls import Refused, Target, check_addresses, check_target, check_url, read_url

__all__ = ["Answer", "Fetched", "GuardedClient", "Networks", "Refused", "Resolve", "Unreachable", "check_url"]

#: Gives the addresses of a name, as text. Raises OSError when there are none.
Resolve = Callable[[str], Awaitable[Sequence[str]]]

MOST_REDIRECTS = 3
_LOOKUPS = 8  #: names looked up at once
_MOST_HEADERS = 200
_MOST_ADDRESSES = 4  #: of one name that are tried
_HEAD = 64 * 1024  #: bytes of heads, interim ones included, and of what else an answer has besides its body
_FRAMING = 8  #: a body may have so many times fewer bytes of chunks' framing than of its own
_MOST_READ = 64 * 1024  #: bytes that are read of the body of a webhook's answer
_GATHERED = 16 * 1024  #: bytes of a body that are gathered before they are passed on
_REDIRECTS = (301, 302, 303, 307, 308)


class Unreachable(LongrunError):
    """No answer, or no complete one. The text is a short reason that names no address."""


class _TooLong(Unreachable):
    """Its body goes on over what may be read of it, or in pieces that are too many and too small."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status. Its body is read and not kept."""

    status: int
    headers: Mapping[str, str]  #: names in lower case; a header that came more than once is joined with `, `


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer whose body is still to come.

    Args:
        url: where it came from in the end.
        chunks: the body as sent, never decoded.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class GuardedClient:
    """Calls URLs that strangers gave.

    Args:
        networks: the private networks that may be called.
        timeout: seconds for a call in all: the lookup, the connection, the answer to its last byte, the caller's own work with it.
        resolve: looks names up; default: the system.
        tls: whom to trust; default: certifi's list, or what `SSL_CERT_FILE` or `SSL_CERT_DIR` name.
    """

    def __init__(
        self,
        networks: Networks,
        *,
        timeout: float = 15.0,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._networks = networks
        self._timeout = timeout
        self._resolve = resolve or self._resolve_name
        # Threads of its own: names whose servers do not answer must not take the ones that everything else shares.
        self._lookups = ThreadPoolExecutor(_LOOKUPS, "longrun-lookup")
        self._tls = tls or httpx.create_ssl_context()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a body. A redirect is an answer like any other and is not followed. Of a long answer only the beginning is read.

        Raises:
            Refused: the URL may not be called, or a header cannot be sent. Nothing was sent.
            Unreachable: there is no complete answer. The body may have arrived.
        """
        async with _reasons(self._timeout), self._exchange("POST", url, _MOST_READ, body, headers) as response:
            with suppress(_TooLong):
                async for _ in _whole(response, _MOST_READ):
                    pass
            return Answer(response.status, _joined(response.headers))

    @asynccontextmanager
    async def fetch(self, url: str, *, max_bytes: int) -> AsyncIterator[Fetched]:
        """Fetch a URL; its body comes in pieces. Up to `MOST_REDIRECTS` redirects are followed; each names a URL that is read and judged
        like the first.

        Args:
            max_bytes: largest body; a longer one breaks off.

        Raises:
            Refused: the URL, or one that it redirects to, may not be called.
            Unreachable: there is no complete answer, or it is larger than `max_bytes`, or it redirects too often.
        """
        async with _reasons(self._timeout):
            for _ in range(MOST_REDIRECTS + 1):
                async with self._exchange("GET", url, max_bytes) as response:
                    headers = _joined(response.headers)
                    if response.status not in _REDIRECTS or "location" not in headers:
                        yield Fetched(url, response.status, headers, _whole(response, max_bytes))
                        return
                url = urljoin(url, headers["location"])
            raise Unreachable(f"it redirects more than {MOST_REDIRECTS} times")

    async def close(self) -> None:
        """End the threads that look names up."""
        self._lookups.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def _exchange(
        self, method: str, url: str, most: int, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpcore.Response]:
        """One request on a connection of its own, and the answer, of whose body `most` bytes may be read."""
        target = read_url(url)
        addresses = await self._addresses(target)
        meter = Meter(_HEAD)
        backend = PinnedBackend(addresses, timeout=self._timeout / len(addresses), meter=meter)
        place = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        async with (
            httpcore.AsyncHTTPConnection(place.origin, ssl_context=self._tls, network_backend=backend) as connection,
            connection.stream(method, place, headers=_sent(target, headers or {}), content=body) as response,
        ):
            if len(response.headers) > _MOST_HEADERS:
                raise TooMuch("too many headers")
            meter.left += most + most // _FRAMING
            yield response

    async def _addresses(self, target: Target) -> Sequence[Address]:
        """Where to connect: resolved once, all of them judged."""
        check_target(target, self._networks)
        if target.known:
            return target.known
        try:
            found = [ip_address(text) for text in await self._resolve(target.host)]
        except OSError as error:
            raise Unreachable("its name cannot be resolved") from error
        if not found:
            raise Unreachable("its name has no address")
        check_addresses(target, found, self._networks)
        return found[:_MOST_ADDRESSES]

    async def _resolve_name(self, host: str) -> Sequence[str]:
        """The addresses of a name as the system knows them, in the order in which they should be tried."""
        look_up = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._lookups, look_up)
        return list(dict.fromkeys(str(each[4][0]) for each in found))


def _sent(target: Target, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers of a request. Only identity coding is asked for, so that a small answer stays small."""
    own = {"host": target.authority, "accept-encoding": "identity", "connection": "close"}
    return list(({name.lower(): value for name, value in headers.items()} | own).items())


def _joined(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


async def _whole(response: httpcore.Response, most: int) -> AsyncIterator[bytes]:
    """The body in pieces of a sensible size. Raises Unreachable: it is longer than `most`, or comes in too many tiny pieces."""
    size, pieces, held = 0, 0, bytearray()
    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_stream())) as parts:
        async for part in parts:
            size, pieces = size + len(part), pieces + 1
            if size > most:
                raise _TooLong(f"it is larger than {most} bytes")
            if pieces > PIECES and size < pieces * BYTES_PER_PIECE:
                raise _TooLong(f"it comes in too many tiny pieces ({pieces:,} in {size:,} bytes)")
            held += part
            if len(held) >= _GATHERED:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)


@asynccontextmanager
async def _reasons(timeout: float) -> AsyncIterator[None]:
    """Bound a call in time, and turn the ways in which it breaks into the two errors of this module."""
    try:
        async with asyncio.timeout(timeout):
            yield
    except (TimeoutError, httpcore.TimeoutException) as error:
        raise Unreachable(f"no complete answer within {timeout:g} s") from error
    except TooMuch as error:
        raise Unreachable("its answer is too large") from error
    except httpcore.LocalProtocolError as error:
        raise Refused(f"A header cannot be sent: {error}") from error
    except httpcore.RemoteProtocolError as error:
        raise Unreachable("its answer breaks off or is not HTTP") from error
    except (httpcore.NetworkError, OSError) as error:
        raise Unreachable(_why(error)) from error


def _why(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {cause.verify_message}"
    if cause is not None:
        return "TLS fails"
    return "no connection" if isinstance(error, httpcore.ConnectError) else "the connection broke"
