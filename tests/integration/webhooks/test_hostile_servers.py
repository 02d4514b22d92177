"""Servers whose answers cost as much as they can: a call of them takes little time of the event loop and little memory."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from tests.integration.webhooks.test_guard import client, fetched
from tests.unit.growth import ROUNDS, no_collection

from longrun.webhooks.connection import BYTES_PER_PIECE, PIECES, Meter, TooMuch
from longrun.webhooks.guard import GuardedClient, Refused, Unreachable

#: Seconds of CPU that a call may take in all, and for which it may hold the event loop.
MOST, HELD = 1.0, 0.1
#: Bytes of memory.
MEMORY = 8 << 20
LARGE = 100_000_000

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
#: What is sent first, and what is sent again and again after that.
ANSWERS = {
    "interim answers": (b"", b"HTTP/1.1 100 \r\n\r\n"),
    "interim answers with headers": (b"", b"HTTP/1.1 103 \r\nLink: a\r\n\r\n"),
    "headers without end": (OK, b"a:\r\n"),
    "twenty thousand headers": (OK + b"a:\r\n" * 20_000 + b"\r\n", b"a"),
    "one header without end": (OK + b"a: ", b"a"),
    "a header of spaces": (OK + b"a:" + b" " * 60_000 + b"\0\r\n\r\n", b"a"),
    "a header of tabs and letters": (OK + b"a:" + b"\ta" * 30_000 + b"\0\r\n\r\n", b"a"),
    "a folded header": (OK + b"a: b\r\n" + b" \r\n" * 20_000 + b" \0\r\n\r\n", b"a"),
    "a status line without end": (b"HTTP/1.1 200 ", b" "),
    "lengths": (OK + b"Content-Length: 1" + b",1" * 30_000 + b"\r\n\r\n", b"a"),
    "chunks of one byte": (CHUNKED, b"1\r\na\r\n"),
    "chunks with extensions": (CHUNKED, b"1;a=b\r\na\r\n"),
    "chunks of one byte after a large one": (CHUNKED + b"100000\r\n" + bytes(1 << 20) + b"\r\n", b"1\r\na\r\n"),
    "a chunk extension without end": (CHUNKED + b"1;", b"a"),
    "a size of spaces": (CHUNKED + b"1" + b" " * 60_000 + b"\0\r\n", b"a"),
    "trailers": (CHUNKED + b"0\r\n" + b"a:\r\n" * 20_000 + b"\r\n", b"a"),
    "trailers without end": (CHUNKED + b"0\r\n", b"a:\r\n"),
    "a trailer of spaces": (CHUNKED + b"0\r\na:" + b" " * 60_000 + b"\0\r\n\r\n", b"a"),
    "a redirect to a long place": (b"HTTP/1.1 302 x\r\nLocation: /" + b"a/../" * 12_000 + b"\r\n\r\n", b"a"),
    "a redirect and chunks": (b"HTTP/1.1 302 x\r\nLocation: /\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "a body without end": (OK + b"Content-Encoding: gzip\r\n\r\n", b"\0"),
}


@contextmanager
def sending(first: bytes, again: bytes, at_once: int = 1 << 16) -> Iterator[int]:
    """A server on loopback, in a thread of its own: its CPU time is not the client's."""
    listening = socket.create_server(("127.0.0.1", 0))
    block = again * max(1, at_once // len(again))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with connection, suppress(OSError):
                    connection.recv(1 << 16)
                    connection.sendall(first)
                    while True:
                        connection.sendall(block)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


async def cost(call: Awaitable[object]) -> tuple[float, float]:
    """Seconds of CPU that it takes in all, and the longest for which it holds the loop."""
    longest, began = 0.0, time.thread_time()
    since, doing = began, asyncio.ensure_future(call)
    while not doing.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, since = max(longest, now - since), now
    with suppress(Unreachable, Refused):
        await doing
    return since - began, longest


def post(guarded: GuardedClient, port: int) -> Awaitable[object]:
    return guarded.post(f"http://127.0.0.1:{port}/", b"{}", {})


def fetch(guarded: GuardedClient, port: int) -> Awaitable[object]:
    return fetched(guarded, f"http://127.0.0.1:{port}/", max_bytes=LARGE)


@pytest.mark.parametrize("call", [post, fetch])
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_takes_little_time(name: str, call: Callable[[GuardedClient, int], Awaitable[object]]) -> None:
    in_all = held = float("inf")
    for _ in range(ROUNDS):
        with sending(*ANSWERS[name]) as port, no_collection():
            async with client() as guarded:
                costs = await cost(call(guarded, port))
        in_all, held = min(in_all, costs[0]), min(held, costs[1])
        if in_all < MOST and held < HELD:
            return
    pytest.fail(f"{in_all:g} s in all, {held:g} s at once")


def test_bytes_that_come_one_by_one_are_read_so_many_times_and_no_more() -> None:
    slow, large = Meter(LARGE), Meter(LARGE)
    for meter, size in ((large, BYTES_PER_PIECE), (slow, 1)):
        for _ in range(PIECES + 1):
            meter.check()
            meter.count(bytes(size))
    large.check()
    with pytest.raises(TooMuch):
        slow.check()


@pytest.mark.parametrize("name", ["interim answers", "twenty thousand headers", "chunks of one byte", "trailers without end"])
async def test_an_answer_takes_little_memory(name: str) -> None:
    with sending(*ANSWERS[name]) as port:
        async with client() as guarded:
            tracemalloc.start()
            try:
                with suppress(Unreachable):
                    await post(guarded, port)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert peak < MEMORY


async def test_a_file_in_many_small_pieces_is_fetched_as_long_as_they_are_not_too_many() -> None:
    rows = [b"50\r\n" + b"a" * 80 + b"\r\n"] * (PIECES - 200)  # a read may cut them in two
    with sending(CHUNKED + b"".join(rows) + b"0\r\n\r\n", b"a") as port:
        async with client() as guarded:
            assert len(await fetched(guarded, f"http://127.0.0.1:{port}/", max_bytes=LARGE)) == 80 * len(rows)
    with sending(CHUNKED + b"".join(rows) + rows[0] * 200, b"1\r\na\r\n") as port:
        async with client() as guarded:
            with pytest.raises(Unreachable, match="too many tiny pieces"):
                await fetched(guarded, f"http://127.0.0.1:{port}/", max_bytes=LARGE)


async def test_small_pieces_are_gathered_before_somebody_works_on_them() -> None:
    with sending(CHUNKED + b"1\r\na\r\n" * PIECES + b"0\r\n\r\n", b"a") as port:
        async with client() as guarded, guarded.fetch(f"http://127.0.0.1:{port}/", max_bytes=LARGE) as found:
            assert [len(piece) async for piece in found.chunks] == [PIECES]
