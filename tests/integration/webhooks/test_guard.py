"""The guarded client over real sockets: it calls what was checked and nothing else, and takes no more than it must."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.unit.webhooks.hosts import CLOUD, PRIVATE, UNREADABLE

from longrun.webhooks.guard import GuardedClient, Networks, Refused, Unreachable

LOOPBACK = Networks(["127.0.0.0/8"])
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a free port of loopback that does as `handler` says with each connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has hung up, as it should
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


def answering(answer: bytes, seen: list[bytes] | None = None) -> Handler:
    """Reads a request's head and answers with these bytes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        writer.write(answer)
        await writer.drain()

    return handler


def ok(body: bytes = b"", *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers, b"", body])


def resolving(*answers: Sequence[str]) -> tuple[Callable[[str], Awaitable[Sequence[str]]], list[str]]:
    """A resolver that gives these answers, one after the other, and the names that it was asked for."""
    asked: list[str] = []

    async def resolve(name: str) -> Sequence[str]:
        asked.append(name)
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


@asynccontextmanager
async def client(networks: Networks = LOOPBACK, **options: object) -> AsyncIterator[GuardedClient]:
    guarded = GuardedClient(networks, **options)  # type: ignore[arg-type]
    try:
        yield guarded
    finally:
        await guarded.close()


async def fetched(guarded: GuardedClient, url: str, *, max_bytes: int) -> bytes:
    """The whole body of what a URL leads to."""
    async with guarded.fetch(url, max_bytes=max_bytes) as found:
        return b"".join([piece async for piece in found.chunks])


@pytest.fixture
def canary() -> Iterator[socket.socket]:
    """A port of loopback that nobody must connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize("host", [*PRIVATE, *CLOUD, *UNREADABLE], ids=ascii)
async def test_no_byte_reaches_a_host_of_the_table(canary: socket.socket, host: str) -> None:
    port = canary.getsockname()[1]
    async with client(Networks()) as guarded:
        with pytest.raises(Refused):
            await guarded.post(f"https://{host}:{port}/", b"{}", {})


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["169.254.169.254"], ["10.0.0.7"]],
)
async def test_a_name_is_refused_when_one_of_its_addresses_is_private(canary: socket.socket, addresses: list[str]) -> None:
    resolve, asked = resolving(addresses)
    async with client(Networks(), resolve=resolve) as guarded:
        with pytest.raises(Refused, match=r"The address of rebind\.example is not public") as refused:
            await guarded.post(f"https://rebind.example:{canary.getsockname()[1]}/", b"{}", {})
    assert asked == ["rebind.example"]
    assert not any(address in str(refused.value) for address in addresses), "the caller need not know where it leads"


async def test_a_name_is_resolved_once_and_what_was_checked_is_called() -> None:
    """Rebinding: were it asked again, it would lead elsewhere."""
    seen: list[bytes] = []
    resolve, asked = resolving(["127.0.0.1"], ["10.0.0.1"])
    async with server(answering(ok(b"hi"), seen)) as port, client(resolve=resolve) as guarded:
        answer = await guarded.post(f"http://hook.example:{port}/a?b=c", b"{}", {"X-One": "1"})
    assert (answer.status, asked) == (200, ["hook.example"])
    assert seen[0].startswith(b"POST /a?b=c HTTP/1.1\r\n")
    assert b"host: hook.example:%d\r\n" % port in seen[0].lower()
    assert b"x-one: 1\r\n" in seen[0].lower()


async def test_tls_asks_for_the_name_though_the_address_is_pinned() -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(4096))

    seen: list[bytes] = []
    resolve, _ = resolving(["127.0.0.1"])
    async with server(hello) as port, client(resolve=resolve) as guarded:
        with pytest.raises(Unreachable, match=r"TLS fails|the connection broke|no connection"):
            await guarded.post(f"https://hook.example:{port}/", b"{}", {})
    assert b"hook.example" in seen[0], "server_name of the ClientHello"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", ["http://127.0.0.1:{port}/", "file:///etc/passwd", "//169.254.169.254/", "gopher://127.0.0.1:{port}/"])
async def test_a_redirect_of_a_post_is_an_answer_and_is_not_followed(canary: socket.socket, status: int, to: str) -> None:
    location = to.format(port=canary.getsockname()[1]).encode()
    redirect = b"HTTP/1.1 %d Elsewhere\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, location)
    async with server(answering(redirect)) as port, client() as guarded:
        answer = await guarded.post(f"http://127.0.0.1:{port}/", b"{}", {})
    assert answer.status == status


@pytest.mark.parametrize("to", ["http://127.0.0.2:{port}/", "http://[::1]:{port}/", "file:///etc/passwd", "http://user@127.0.0.1:{port}/"])
async def test_each_hop_of_a_fetch_is_judged_like_the_first(canary: socket.socket, to: str) -> None:
    location = to.format(port=canary.getsockname()[1]).encode()
    async with (
        server(answering(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location)) as port,
        client(Networks(["127.0.0.1/32"])) as guarded,
    ):
        with pytest.raises(Refused):
            await fetched(guarded, f"http://127.0.0.1:{port}/", max_bytes=1000)


async def test_a_fetch_follows_three_redirects_and_no_more() -> None:
    async def hop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.split(b" ")[1][1:])
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /%d\r\nContent-Length: 0\r\n\r\n" % (left - 1) if left else ok(b"here"))
        await writer.drain()

    async with server(hop) as port, client() as guarded:
        assert (await fetched(guarded, f"http://127.0.0.1:{port}/3", max_bytes=10)) == b"here"
        with pytest.raises(Unreachable, match="more than 3 times"):
            await fetched(guarded, f"http://127.0.0.1:{port}/4", max_bytes=10)


async def test_a_bomb_is_not_unpacked_and_an_endless_answer_is_not_read() -> None:
    bomb = gzip.compress(bytes(10 * 1024 * 1024))
    seen: list[bytes] = []
    async with server(answering(ok(bomb, b"Content-Encoding: gzip"), seen)) as port, client() as guarded:
        assert (await fetched(guarded, f"http://127.0.0.1:{port}/", max_bytes=len(bomb))) == bomb
        assert b"accept-encoding: identity\r\n" in seen[0].lower()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            sent += 0x10000
            await writer.drain()

    sent = 0
    async with server(endless) as port, client() as guarded:
        assert (await guarded.post(f"http://127.0.0.1:{port}/", b"{}", {})).status == 200
        with pytest.raises(Unreachable, match="larger than 5000 bytes"):
            await fetched(guarded, f"http://127.0.0.1:{port}/", max_bytes=5000)
    assert sent < 32 * 1024 * 1024, "what fits into the sockets' buffers, and no more"


async def test_a_flood_of_headers_is_not_taken() -> None:
    flood = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 50) for n in range(10_000)) + b"\r\n"
    async with server(answering(flood)) as port, client() as guarded:
        with pytest.raises(Unreachable):
            await guarded.post(f"http://127.0.0.1:{port}/", b"{}", {})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "breaks off"),
        (b"220 smtp.example ESMTP\r\n", "not HTTP"),
        (b"", "breaks off"),
    ],
)
async def test_what_is_no_whole_answer_is_none(answer: bytes, words: str) -> None:
    async with server(answering(answer)) as port, client() as guarded:
        with pytest.raises(Unreachable, match=words):
            await guarded.post(f"http://127.0.0.1:{port}/", b"{}", {})


@pytest.mark.parametrize("drip", [b"", b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"])
async def test_a_receiver_that_drips_has_the_timeout_in_all(drip: bytes) -> None:
    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(drip)
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with server(dripping) as port, client(timeout=0.5) as guarded:
        async with asyncio.timeout(60):
            with pytest.raises(Unreachable):
                await guarded.post(f"http://127.0.0.1:{port}/", b"{}", {})


async def test_a_header_that_would_split_the_request_is_refused() -> None:
    async with server(answering(ok())) as port, client() as guarded:
        with pytest.raises(Refused, match="header"):
            await guarded.post(f"http://127.0.0.1:{port}/", b"{}", {"X-One": "1\r\nX-Two: 2"})
