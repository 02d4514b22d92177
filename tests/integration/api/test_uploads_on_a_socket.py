"""Uploads over a real server, by callers that do not stop: they get their answer, and little more is read."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from tests.integration.api.conftest import API, app_of, listening
from tests.integration.api.stored import FILES
from tests.integration.api.test_stopping import serving

from longrun.api.http.write_timeout import WriteTimeout
from longrun.settings import Settings

MB = 1 << 20
#: What may be read of who goes on sending: a megabyte, so that the answer arrives, and what the server's own buffer holds.
LITTLE = MB + 512 * 1024
FORM = "Content-Type: multipart/form-data; boundary=x"
CHUNKED = "Transfer-Encoding: chunked"
COLLAGE = f"POST {API}/models/collage/jobs HTTP/1.1"
PART = b'--x\r\nContent-Disposition: form-data; name="more"; filename="a.bin"\r\n\r\n'
PIECE = bytes(64 * 1024)

both = pytest.mark.parametrize("http", ["httptools", "h11"])


class Counting:
    """An app whose bodies are counted, and whose calls are noted when they end."""

    def __init__(self, settings: Settings) -> None:
        self.app, self.read, self.ended = app_of(settings), 0, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counted() -> Any:
            message = await receive()
            self.read += len(message.get("body", b""))
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            self.ended += scope["type"] == "http"


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode()


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def answered(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], dict[str, Any], bytes]:
    """Status, headers and problem, and what comes after them until the connection ends."""
    raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    first, *lines = raw.decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = json.loads(await reader.readexactly(int(headers["content-length"])))
    try:
        rest = await asyncio.wait_for(reader.read(), 10) if headers.get("connection") == "close" else b""
    except ConnectionResetError:
        rest = b""
    return int(first.split()[1]), headers, body, rest


async def goes_on_sending(port: int, begin: bytes, piece: bytes, most: int) -> tuple[int, Any]:
    """Send until the connection breaks or the answer has come, as clients of asyncio do. Bytes sent, and the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    answer = asyncio.ensure_future(answered(reader))
    sent = 0
    writer.write(begin)
    try:
        while sent < most and not answer.done():
            writer.write(piece)
            await asyncio.wait_for(writer.drain(), 10)
            sent += len(piece)
    except (ConnectionError, TimeoutError):
        pass
    try:
        return sent, await answer
    finally:
        writer.close()


def sends_all_first(port: int, begin: bytes, piece: bytes, most: int) -> tuple[int, bytes]:
    """Send until the connection breaks, and read only then. Bytes sent, and what was read."""
    sent, read = 0, b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(begin)
        try:
            while sent < most:
                sock.sendall(piece)
                sent += len(piece)
        except (ConnectionError, TimeoutError):
            pass
        try:
            while data := sock.recv(65536):
                read += data
        except ConnectionError:
            pass
    return sent, read


@both
async def test_a_gigabyte_is_refused_by_its_head_and_nothing_is_asked_for(settings: Settings, http: str) -> None:
    app = Counting(settings)
    limit = settings.max_body + 1_000_000 + 100 * 200_000
    async with listening(app, http=http) as port:
        for expect in ([], ["Expect: 100-continue"]):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head(COLLAGE, "Host: localhost", FORM, f"Content-Length: {1 << 30}", *expect))
            status, headers, problem, rest = await answered(reader)
            writer.close()
            assert (status, problem["code"], problem["limit"]) == (413, "payload-too-large", limit)
            assert headers["connection"] == "close" and rest == b""
    assert app.read == 0


@both
async def test_who_goes_on_sending_after_that_gets_the_answer_and_is_not_read(settings: Settings, http: str) -> None:
    app = Counting(settings)
    async with listening(app, http=http) as port:
        begin = head(COLLAGE, "Host: localhost", FORM, f"Content-Length: {1 << 30}")
        sent, (status, *_) = await goes_on_sending(port, begin, PIECE, 256 * MB)
    assert status == 413
    assert app.read < LITTLE and sent < 16 * MB  # the rest is what the kernel's buffers take


@both
@pytest.mark.parametrize("body", [200_000, 800_000])
async def test_who_sends_a_little_too_much_and_reads_then_gets_the_answer(settings: Settings, http: str, body: int) -> None:
    small = settings.model_copy(update={"max_body": 10_000, "max_file": 100})
    async with listening(app_of(small), http=http) as port:
        begin = head(COLLAGE, "Host: localhost", FORM, f"Content-Length: {body}")
        sent, read = await asyncio.to_thread(sends_all_first, port, begin, bytes(50_000), body)
    assert sent == body and read.startswith(b"HTTP/1.1 413 ") and read.endswith(b"}")


@both
async def test_who_never_stops_is_cut_off(settings: Settings, http: str) -> None:
    app = Counting(settings)
    async with listening(app, http=http) as port:
        begin = head(COLLAGE, "Host: localhost", FORM, f"Content-Length: {1 << 30}")
        sent, _ = await asyncio.to_thread(sends_all_first, port, begin, PIECE, 256 * MB)
    assert app.read < LITTLE and sent < 16 * MB


@both
async def test_without_a_key_nothing_of_an_upload_is_read(keyed: Settings, http: str) -> None:
    app = Counting(keyed)
    async with listening(app, http=http) as port:
        for path in (COLLAGE, f"POST {FILES} HTTP/1.1"):
            begin = head(path, "Host: localhost", FORM, CHUNKED)
            sent, (status, headers, *_) = await goes_on_sending(port, begin, framed(PIECE), 256 * MB)
            assert (status, headers["connection"]) == (401, "close") and sent < 16 * MB
    assert app.read < 2 * LITTLE


@both
async def test_a_chunked_file_without_end_is_cut_off_at_its_limit(settings: Settings, kept: Any, http: str) -> None:
    app = Counting(settings)
    async with listening(app, http=http) as port:
        begin = head(COLLAGE, "Host: localhost", FORM, CHUNKED) + framed(PART)
        sent, (status, headers, problem, _) = await goes_on_sending(port, begin, framed(PIECE), 256 * MB)
    assert (status, problem["rule"], problem["limit"], problem["errors"][0]["pointer"]) == (413, "max_bytes", 200_000, "/input/more/0")
    assert headers["connection"] == "close"
    assert app.read < 200_000 + LITTLE and sent < 16 * MB
    assert await kept() == set()


@both
async def test_a_chunked_body_without_end_is_cut_off_at_the_limit_of_the_route(settings: Settings, kept: Any, http: str) -> None:
    small = settings.model_copy(update={"max_file": 1000, "max_body": 10_000})
    limit = small.max_body + 101 * 1000
    app = Counting(small)
    # Parts that nobody wants are left out as they come, and count.
    begin = head(COLLAGE, "Host: localhost", FORM, CHUNKED) + framed(
        b"--x\r\nContent-Disposition: form-data; name=cover; filename=a\r\n\r\n"
    )
    async with listening(app, http=http) as port:
        _, (status, _, problem, _) = await goes_on_sending(port, begin, framed(bytes(500)), 64 * MB)
        assert status == 413 and problem["limit"] in (1000, limit)
        begin = head(f"POST {FILES} HTTP/1.1", "Host: localhost", "Content-Type: application/octet-stream", CHUNKED)
        _, (status, _, problem, _) = await goes_on_sending(port, begin, framed(PIECE), 64 * MB)
        assert status == 413 and problem["limit"] in (1000, 1000 + 65_536)
    assert app.read < 2 * LITTLE + 65_536
    assert await kept() == set()


@both
async def test_a_part_header_of_a_megabyte_and_ten_thousand_parts_are_refused(settings: Settings, kept: Any, http: str) -> None:
    app = Counting(settings)
    async with listening(app, http=http) as port:
        for body, limit in (
            (b"--x\r\nX-Long: " + b"a" * MB, 8192),
            (b'--x\r\nContent-Disposition: form-data; name="tags"\r\n\r\nx\r\n' * 10_000, 200),
        ):
            begin = head(COLLAGE, "Host: localhost", FORM, CHUNKED)
            _, (status, headers, problem, _) = await goes_on_sending(port, begin, framed(body), 2 * len(body))
            assert (status, problem["limit"], headers["connection"]) == (413, limit, "close")
    assert app.read < 2 * LITTLE + MB
    assert await kept() == set()


@both
async def test_what_is_small_and_unread_does_not_end_the_connection(settings: Settings, http: str) -> None:
    async with listening(app_of(settings), http=http) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(head(f"POST {API}/jobs/job_{'0' * 32}/cancel HTTP/1.1", "Host: localhost", "Content-Length: 2") + b"{}")
            status, headers, *_ = await answered(reader)
            assert status == 404 and "connection" not in headers
        writer.close()


async def test_a_reader_that_takes_nothing_is_let_go(settings: Settings) -> None:
    async with serving(settings) as served:
        served._server._write_timeout = WriteTimeout(patience=0.5)
        made = await served.caller.post(FILES, content=bytes(20 * MB), headers={"Content-Type": "a/b"})
        assert made.status_code == 201
        with socket.socket() as still:
            still.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            still.connect(("127.0.0.1", int(served.url.rpartition(":")[2])))
            still.sendall(head(f"GET {FILES}/{made.json()['id']}/content HTTP/1.1", "Host: localhost"))
            for begun in (True, False):
                end = asyncio.get_running_loop().time() + 10
                while bool(served._server.server_state.tasks) != begun:
                    assert asyncio.get_running_loop().time() < end, "it never begins" if begun else "it waits for ever"
                    await asyncio.sleep(0.02)
