"""Where the guarded client connects, how often, and how much it reads besides a body."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.webhooks.test_guard import answering, client, fetched, ok, resolving, server

from longrun.webhooks.guard import GuardedClient, Networks, Unreachable

ANY = Networks(["127.0.0.0/8", "::1/128"])


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    resolve, _ = resolving(["127.0.0.9", "::1", "127.0.0.1"])  # nobody listens on the first two
    async with server(answering(ok(b"hi"))) as port, client(ANY, resolve=resolve) as guarded:
        assert (await fetched(guarded, f"http://hook.example:{port}/", max_bytes=2)) == b"hi"


async def test_nobody_there_is_a_reason_that_names_no_address() -> None:
    resolve, _ = resolving(["127.0.0.9"])
    async with client(ANY, resolve=resolve) as guarded:
        with pytest.raises(Unreachable, match=r"^no connection$"):
            await guarded.post("http://hook.example:9/", b"{}", {})


async def test_a_name_that_is_not_known_is_a_reason() -> None:
    async def unknown(name: str) -> list[str]:
        raise OSError(-2, f"{name}: Name or service not known")

    for resolve, words in [(unknown, "its name cannot be resolved"), (resolving([])[0], "its name has no address")]:
        async with client(ANY, resolve=resolve) as guarded:
            with pytest.raises(Unreachable, match=words):
                await guarded.post("http://hook.example/", b"{}", {})


async def test_a_name_server_that_does_not_answer_is_waited_for_until_the_timeout() -> None:
    async def silent(name: str) -> list[str]:
        await asyncio.sleep(600)
        return []

    async with asyncio.timeout(60), client(ANY, resolve=silent, timeout=0.2) as guarded:
        with pytest.raises(Unreachable, match=r"no complete answer within 0\.2 s"):
            await guarded.post("http://hook.example/", b"{}", {})


async def test_the_system_is_asked_for_names() -> None:
    guarded = GuardedClient(ANY)
    try:
        assert set(await guarded._resolve_name("localhost")) & {"127.0.0.1", "::1"}
    finally:
        await guarded.close()


async def test_two_names_at_one_address_share_no_connection() -> None:
    connections = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"\r\n\r\n"):  # an answer that would let the connection live on
            writer.write(ok())
            await writer.drain()

    resolve, _ = resolving(["127.0.0.1"])
    async with server(counting) as port, client(ANY, resolve=resolve) as guarded:
        for name in ("a.example", "b.example", "a.example"):
            await fetched(guarded, f"http://{name}:{port}/", max_bytes=0)
    assert connections == 3


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    async with server(answering(ok(b"proxy"), asked)) as proxy, server(answering(ok(b"hi"))) as port:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        async with client(ANY) as guarded:
            assert (await fetched(guarded, f"http://127.0.0.1:{port}/", max_bytes=2)) == b"hi"
    assert asked == []


async def test_cookies_and_credentials_are_not_remembered() -> None:
    seen: list[bytes] = []
    async with server(answering(ok(b"", b"Set-Cookie: a=b"), seen)) as port, client(ANY) as guarded:
        for _ in range(2):
            await guarded.post(f"http://127.0.0.1:{port}/", b"{}", {"authorization": "Bearer x"})
        await fetched(guarded, f"http://127.0.0.1:{port}/", max_bytes=10)
    assert b"cookie" not in b"".join(seen).lower()
    assert b"authorization" not in seen[2].lower()


async def test_the_callers_headers_do_not_replace_the_guards() -> None:
    seen: list[bytes] = []
    async with server(answering(ok(), seen)) as port, client(ANY) as guarded:
        await guarded.post(f"http://127.0.0.1:{port}/", b"{}", {"Host": "other.example", "Accept-Encoding": "gzip"})
    assert seen[0].lower().count(b"host:") == seen[0].lower().count(b"accept-encoding:") == 1
    assert b"other.example" not in seen[0]
    assert b"gzip" not in seen[0]


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 10_000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 1000 + b"\r\ny\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000),
    ],
    ids=["interim answers", "headers", "one header", "chunk extensions", "trailers"],
)
async def test_what_comes_besides_a_body_is_not_read_without_end(start: bytes, more: bytes) -> None:
    sent = 0

    async def flooding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(start)
        while not writer.is_closing():
            writer.write(more)
            sent += len(more)
            await writer.drain()

    async with server(flooding) as port, client(ANY, timeout=30) as guarded:
        with pytest.raises(Unreachable, match=r"too large|not HTTP"):
            await guarded.post(f"http://127.0.0.1:{port}/", b"{}", {})
    assert sent < 32 * 1024 * 1024, "what fits into the sockets' buffers, and no more"


async def test_ten_thousand_headers_are_too_many_though_they_are_short() -> None:
    for count, taken in [(199, True), (10_000, False)]:
        async with server(answering(ok(b"", *[b"x:"] * count))) as port, client(ANY) as guarded:
            call = guarded.post(f"http://127.0.0.1:{port}/", b"{}", {})
            if taken:
                assert (await call).status == 200
            else:
                with pytest.raises(Unreachable, match="its answer is too large"):
                    await call


@pytest.mark.parametrize(
    "lie",
    [b"Content-Length: -1", b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: 1e3", b"Content-Length: " + b"9" * 30],
)
async def test_a_length_that_cannot_be_is_no_answer(lie: bytes) -> None:
    async with server(answering(b"HTTP/1.1 200 OK\r\n" + lie + b"\r\n\r\nhello")) as port, client(ANY) as guarded:
        with pytest.raises(Unreachable):
            await guarded.post(f"http://127.0.0.1:{port}/", b"{}", {})


async def test_what_comes_after_the_length_is_not_part_of_the_answer() -> None:
    more = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 500 Smuggled\r\nContent-Length: 0\r\n\r\n"
    async with server(answering(more)) as port, client(ANY) as guarded:
        assert (await guarded.post(f"http://127.0.0.1:{port}/", b"{}", {})).status == 200
        assert (await fetched(guarded, f"http://127.0.0.1:{port}/", max_bytes=100)) == b"hi"
