"""Heads and trailers that do not end, against the real server: it stops reading, and says so where it still can."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from tests.integration.api.conftest import API, app_of

from longrun.api.http.protocol import MOST_HEAD
from longrun.api.server import ApiServer
from longrun.settings import Settings

MOST_SENT = 16 * 1024 * 1024  #: what the kernel's buffers take is not the service's
FILES = f"POST {API}/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"


@pytest.fixture
async def port(settings: Settings) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = ApiServer(app_of(settings), drain=0, patience=1)
        running = asyncio.create_task(server.serve(sockets=[sock]))
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
        yield sock.getsockname()[1]
        server.should_exit = True
        await running


async def flooded(port: int, head: str, piece: bytes) -> tuple[bytes, int]:
    """What comes back when a piece is sent again and again, and how many bytes were sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = 0
    try:
        writer.write(head.encode())
        while sent < 4 * MOST_SENT:
            writer.write(piece)
            sent += len(piece)
            await asyncio.wait_for(writer.drain(), 5)
    except ConnectionError:
        pass
    try:
        return await asyncio.wait_for(reader.read(12), 5), sent
    except ConnectionError:
        return b"", sent
    finally:
        writer.close()


@pytest.mark.parametrize("head", [FILES + "X-A: ", f"POST {API}/", "GET /livez HTTP/1.1\r\nHost: localhost\r\n"])
async def test_a_head_without_end_is_not_gathered(port: int, head: str) -> None:
    piece = b"X-A: b\r\n" * 1024 if head.endswith("\n") else b"a" * 8192
    answer, sent = await flooded(port, head, piece)
    assert answer in (b"HTTP/1.1 400", b"")
    assert sent < MOST_SENT


async def test_trailers_without_end_are_not_gathered(port: int) -> None:
    _, sent = await flooded(port, FILES + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: ", b"a" * 8192)
    assert sent < MOST_SENT


async def test_bodies_may_be_longer_than_heads_whatever_their_pieces(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [bytes(3), bytes(MOST_HEAD), bytes(300_000)] * 5)
    writer.write((FILES + f"X-A: {'a' * 30_000}\r\nTransfer-Encoding: chunked\r\n\r\n").encode() + data + b"0\r\n\r\n")
    assert await asyncio.wait_for(reader.read(12), 10) == b"HTTP/1.1 201"
    writer.close()


async def test_answers_with_and_without_a_body_follow_each_other_on_one_connection(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = [f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n" for method in ("HEAD", "GET") for path in ("/livez", f"{API}/nothing")]
    writer.write("\r\n".join([*asked, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]).encode())
    answers = (await asyncio.wait_for(reader.read(), 10)).split(b"HTTP/1.1 ")[1:]
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers]
    assert [answer[:3] for answer in answers] == [b"200", b"404", b"200", b"404", b"200"]
    assert bodies[:2] == [b"", b""] and bodies[2] == bodies[4] != b"" and b"not-found" in bodies[3]
    writer.close()
