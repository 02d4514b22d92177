"""Handshakes that are none, or not quite: each is answered or closed, and none of them touches anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.integration.api.conftest import API
from tests.integration.api.test_stopping import Served, serving

from longrun.api.http.protocol import is_handshake
from longrun.service import watch
from longrun.settings import Settings

Submit = Callable[..., Any]
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = "Sec-WebSocket-Version: 13\r\n"
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
WHOLE = UPGRADE + KEY + VERSION
HOST = "Host: localhost\r\n"
CLOSE = "Connection: close\r\n"


@pytest.fixture
async def served(settings: Settings) -> AsyncIterator[Served]:
    async with serving(settings) as served:
        yield served


async def connected(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))


async def status(reader: asyncio.StreamReader) -> int:
    """Of the next answer; 0 = the connection was closed without one."""
    head = await asyncio.wait_for(reader.readline(), 20)
    return int(head.split()[1]) if head else 0


JOB = "{job}"
ODD = {
    "a length": (f"GET {JOB} HTTP/1.1\r\n", WHOLE + "Content-Length: 5\r\n", b"hello", 426),
    "a length, and a body that never comes": (f"GET {JOB} HTTP/1.1\r\n", WHOLE + "Content-Length: 5\r\n", b"", 426),
    "two lengths": (f"GET {JOB} HTTP/1.1\r\n", WHOLE + "Content-Length: 5\r\nContent-Length: 6\r\n", b"", 400),
    "a chunked body": (f"GET {JOB} HTTP/1.1\r\n", WHOLE + "Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", 426),
    "a chunked body that never comes": (f"GET {JOB} HTTP/1.1\r\n", WHOLE + "Transfer-Encoding: chunked\r\n", b"", 426),
    "no key": (f"GET {JOB} HTTP/1.1\r\n", UPGRADE + VERSION, b"", 426),
    "two keys": (f"GET {JOB} HTTP/1.1\r\n", WHOLE + KEY, b"", 426),
    "a short key": (f"GET {JOB} HTTP/1.1\r\n", UPGRADE + VERSION + "Sec-WebSocket-Key: YQ==\r\n", b"", 426),
    "a key that is none": (f"GET {JOB} HTTP/1.1\r\n", UPGRADE + VERSION + "Sec-WebSocket-Key: \xff\r\n", b"", 426),
    "another version": (f"GET {JOB} HTTP/1.1\r\n", UPGRADE + KEY + "Sec-WebSocket-Version: 12\r\n", b"", 426),
    "two versions": (f"GET {JOB} HTTP/1.1\r\n", WHOLE + VERSION, b"", 426),
    "two upgrades": (f"GET {JOB} HTTP/1.1\r\n", WHOLE + "Upgrade: websocket\r\n", b"", 426),
    "HTTP/1.0": (f"GET {JOB} HTTP/1.0\r\n", WHOLE, b"", 426),
    "a POST": (f"POST {JOB} HTTP/1.1\r\n", WHOLE, b"", 405),
    "a path that is not there": ("GET /nothing HTTP/1.1\r\n", WHOLE, b"", 404),
    "a route of another method": (f"GET {API}/files HTTP/1.1\r\n", WHOLE, b"", 404),
    "a route that is no WebSocket": ("GET /livez HTTP/1.1\r\n", WHOLE, b"", 404),
    "frames behind it": (f"GET {JOB} HTTP/1.1\r\n", WHOLE, b"\x81\x80abcd", 400),
    "a request behind it": (f"GET {JOB} HTTP/1.1\r\n", WHOLE, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a head of 130 lines": (f"GET {JOB} HTTP/1.1\r\n", WHOLE + "X-A: b\r\n" * 130, b"", 400),
    "a line of 9 KB": (f"GET {JOB} HTTP/1.1\r\n", WHOLE + f"X-A: {'a' * 9000}\r\n", b"", 400),
    "a path of 9 KB": (f"GET {JOB}?x={'a' * 9000} HTTP/1.1\r\n", WHOLE, b"", 400),
    "h2c": ("GET /livez HTTP/1.1\r\n", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n", b"", 200),
    "expect": (f"GET {JOB} HTTP/1.1\r\n", WHOLE + "Expect: 100-continue\r\nContent-Length: 5\r\n", b"", 426),
    "a tunnel": ("CONNECT localhost:80 HTTP/1.1\r\n", "", b"", 400),
    "a tunnel to a path": ("CONNECT /livez HTTP/1.1\r\n", "", b"", 400),
}


@pytest.mark.parametrize("kind", ODD)
async def test_each_is_answered(kind: str, served: Served, submit: Submit) -> None:
    line, headers, behind, expected = ODD[kind]
    job = await submit()
    reader, writer = await connected(served)
    writer.write((line.replace(JOB, job["urls"]["ws"]) + HOST + headers + "\r\n").encode("latin-1") + behind)
    assert await status(reader) == expected
    writer.close()


@pytest.mark.parametrize("kind", ODD)
async def test_none_of_them_harms_others_when_the_server_stops(kind: str, settings: Settings, submit: Submit) -> None:
    line, headers, behind, _ = ODD[kind]
    job = await submit()
    async with serving(settings) as served:
        told = asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            yield b"half"
            await told.wait()
            yield b"and half"

        waiting = asyncio.create_task(served.caller.get(job["urls"]["self"], headers={"Prefer": "wait=60"}))
        head = {"Content-Type": "application/octet-stream"}
        uploading = asyncio.create_task(served.caller.post(f"{API}/files", content=pieces(), headers=head))
        reader, writer = await connected(served)
        writer.write((line.replace(JOB, job["urls"]["ws"]) + HOST + headers + "\r\n").encode("latin-1") + behind)
        await asyncio.sleep(0.2)
        served.tell()
        assert (await waiting).json()["status"] == "queued"
        told.set()
        assert (await uploading).status_code == 201
        await served.ended()
        writer.close()
    assert reader is not None


async def test_a_body_of_a_request_that_asks_for_an_upgrade_is_its_body(served: Served) -> None:
    """curl --http2 -d … does that; and what looks like a request inside of it is none."""
    body = b'{"input": {"value": "GET /livez HTTP/1.1"}}'
    for headers, sent in (
        (f"Content-Length: {len(body)}\r\n", [body]),
        (f"Content-Length: {len(body)}\r\n", [b"", body]),
        ("Transfer-Encoding: chunked\r\n", [b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n"]),
    ):
        reader, writer = await connected(served)
        head = f"POST {API}/models/echo/jobs HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Type: application/json\r\n"
        first, *rest = sent
        writer.write((head + headers + "\r\n").encode() + first)
        for piece in rest:
            await asyncio.sleep(0.05)
            writer.write(piece)
        writer.write(f"GET {API}/nothing HTTP/1.1\r\n{HOST}{CLOSE}\r\n".encode())
        answers = (await asyncio.wait_for(reader.read(), 20)).split(b"HTTP/1.1 ")[1:]
        assert [answer[:3] for answer in answers] == [b"202", b"404"]
        writer.close()


async def test_what_follows_an_upgrade_that_is_not_made_is_the_next_request(served: Served) -> None:
    reader, writer = await connected(served)
    each = f"GET /livez HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    writer.write((each * 20 + f"GET {API}/nothing HTTP/1.1\r\n{HOST}{CLOSE}\r\n").encode())
    answers = (await asyncio.wait_for(reader.read(), 20)).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200"] * 20 + [b"404"]
    writer.close()


async def test_a_handshake_behind_a_request_does_not_take_its_connection(served: Served, submit: Submit) -> None:
    job = await submit()
    reader, writer = await connected(served)
    writer.write(f"GET {job['urls']['self']} HTTP/1.1\r\n{HOST}Prefer: wait=1\r\n\r\n".encode())
    writer.write(f"GET {job['urls']['ws']} HTTP/1.1\r\n{HOST}{WHOLE}\r\n".encode())
    writer.write(f"GET /livez HTTP/1.1\r\n{HOST}{CLOSE}\r\n".encode())
    answers = (await asyncio.wait_for(reader.read(), 20)).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"426", b"200"]
    writer.close()


async def test_on_a_connection_that_was_used_before_a_handshake_is_one(served: Served, submit: Submit) -> None:
    job = await submit()
    reader, writer = await connected(served)
    for kind, expected in (("GET /livez", b"200"), (f"GET {job['urls']['ws']}", b"426")):
        writer.write(f"{kind} HTTP/1.1\r\n{HOST}\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert head.split()[1] == expected
        size = int(head.lower().partition(b"content-length: ")[2].split()[0])
        await reader.readexactly(size)
    assert b"sec-websocket-version: 13" in head.lower()
    writer.write(f"GET {job['urls']['ws']} HTTP/1.1\r\n{HOST}{WHOLE}\r\n".encode())
    assert b" 101 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    assert b'"queued"' in await asyncio.wait_for(reader.read(400), 20)
    writer.close()


def frame(opcode: int, data: bytes = b"", *, last: bool = True) -> bytes:
    """A frame of a client, masked with zeros."""
    return bytes([opcode | (0x80 if last else 0), 0x80 | len(data)]) + bytes(4) + data


async def opened(served: Served, submit: Submit) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    job = await submit()
    reader, writer = await connected(served)
    writer.write(f"GET {job['urls']['ws']} HTTP/1.1\r\n{HOST}{WHOLE}\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b'"queued"'), 20)
    return reader, writer


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(1, b"a", last=False) + frame(0, last=False) * 5000, 1009),
        (frame(1, b"\xff"), 1007),
        (frame(1, b"\xc3", last=False) + frame(0, b"\x28"), 1007),
        (frame(3), 1002),
        (frame(0), 1002),
        (bytes([0x81, 0xFF]) + (2**40).to_bytes(8, "big") + bytes(4), 1009),
        (frame(8, (999).to_bytes(2, "big")), 1002),
        (frame(8, b"x"), 1002),
    ],
)
async def test_what_is_no_message_closes_the_connection(sent: bytes, code: int, served: Served, submit: Submit) -> None:
    reader, writer = await opened(served, submit)
    writer.write(sent)
    rest = await asyncio.wait_for(reader.read(), 20)
    assert code.to_bytes(2, "big") in rest
    writer.close()


async def test_who_pings_and_takes_no_answers_is_not_gathered_for(served: Served, submit: Submit) -> None:
    reader, writer = await opened(served, submit)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    transport = next(iter(served._server.server_state.connections)).transport
    for _ in range(400):
        writer.write(frame(9, os.urandom(125)) * 200)
        await asyncio.wait_for(writer.drain(), 20)
    assert transport.get_write_buffer_size() < 2**20
    writer.transport.abort()
    assert reader is not None


@pytest.mark.parametrize("part", [1, 40, 100])
async def test_half_a_handshake_or_half_a_frame_is_closed_when_the_server_stops(part: int, settings: Settings, submit: Submit) -> None:
    async with serving(settings) as served:
        reader, writer = await connected(served)
        writer.write(f"GET {API}/jobs/job_x/ws HTTP/1.1\r\n{HOST}{WHOLE}\r\n".encode()[:part])
        half, half_writer = await opened(served, submit)
        half_writer.write(frame(8, b"ab")[:3])
        await asyncio.sleep(0.2)
        served.tell()
        await served.ended()
        assert await asyncio.wait_for(reader.read(), 20) == b""
        assert (1012).to_bytes(2, "big") in await asyncio.wait_for(half.read(), 20)
        writer.close()
        half_writer.close()


def test_what_a_handshake_is() -> None:
    whole = [(b"upgrade", b"WebSocket"), (b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")]
    assert is_handshake(b"GET", "1.1", whole)
    assert is_handshake(b"GET", "1.1", [*whole, (b"content-length", b"0")])
    for without in whole:
        assert not is_handshake(b"GET", "1.1", [each for each in whole if each is not without])


async def test_a_client_that_vanishes_in_its_handshake_is_no_defect(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has gone when the refusal is sent."""
    vanished = asyncio.Event()
    real = watch.events

    async def slow(*args: Any, **options: Any) -> Any:
        await vanished.wait()
        return await real(*args, **options)

    monkeypatch.setattr(watch, "events", slow)
    with capture_logs() as lines:
        _, writer = await connected(served)
        writer.write(f"GET {API}/jobs/job_x/ws HTTP/1.1\r\n{HOST}{WHOLE}\r\n".encode())
        await asyncio.sleep(0.1)
        writer.transport.abort()
        await asyncio.sleep(0.1)
        vanished.set()
        await asyncio.sleep(0.1)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == []
    assert not served._server.server_state.connections and not served._server.server_state.tasks


async def test_a_handshake_that_is_refused_is_no_error_in_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await connected(served)
    writer.write(f"GET {API}/jobs/job_x/ws HTTP/1.1\r\n{HOST}{WHOLE}\r\n".encode())
    assert await status(reader) == 404
    await reader.read()
    writer.close()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_who_speaks_before_its_handshake_is_answered_is_cut(served: Served, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await submit()
    monkeypatch.setattr(watch, "events", lambda *_, **__: asyncio.sleep(600))
    reader, writer = await connected(served)
    writer.write(f"GET {job['urls']['ws']} HTTP/1.1\r\n{HOST}{WHOLE}\r\n".encode())
    await asyncio.sleep(0.1)
    writer.write(frame(1, b"a"))
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()
    for task in tuple(served._server.server_state.tasks):
        task.cancel()
