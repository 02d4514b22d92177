"""Access over a real server: what is refused is refused from the head alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.integration.api.conftest import API, app_of, listening

from longrun.api.http import multipart
from longrun.settings import Settings

SUBMIT = f"POST {API}/models/echo/jobs HTTP/1.1"


async def send(port: int, *lines: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
    """Send a head (and what there is of a body) and read the answer, without ever sending more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        return int(head.split()[1]), json.loads(await reader.readexactly(length))
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def keyed(settings: Settings) -> Settings:
    return Settings(**{**settings.model_dump(), "api_keys": {"ann": "a-key"}})


async def test_a_body_of_20_mb_is_refused_before_it_is_sent(settings: Settings) -> None:
    async with listening(app_of(settings)) as port:
        status, problem = await send(port, SUBMIT, "Host: localhost", "Content-Type: application/json", "Content-Length: 20000000")
    assert (status, problem["code"]) == (413, "payload-too-large")


async def test_a_caller_without_a_key_is_refused_before_the_body_is_sent(keyed: Settings) -> None:
    async with listening(app_of(keyed)) as port:
        for expect in ([], ["Expect: 100-continue"]):
            status, problem = await send(port, SUBMIT, "Host: x", "Content-Type: application/json", "Content-Length: 20000000", *expect)
            assert (status, problem["code"]) == (401, "unauthenticated")


async def test_a_foreign_page_is_refused_before_the_body_is_sent(settings: Settings) -> None:
    async with listening(app_of(settings)) as port:
        status, problem = await send(port, SUBMIT, "Host: localhost", "Origin: http://evil.example", "Content-Length: 1000")
    assert (status, problem["code"]) == (403, "forbidden")


async def test_a_rebound_name_is_refused(settings: Settings) -> None:
    async with listening(app_of(settings)) as port:
        assert (await send(port, f"GET {API}/jobs HTTP/1.1", "Host: evil.example"))[0] == 403
        assert (await send(port, f"GET {API}/jobs HTTP/1.1", f"Host: localhost:{port}"))[0] == 200


async def test_a_chunked_body_is_stopped_at_the_limit(settings: Settings) -> None:
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    small = settings.model_copy(update={"max_body": 8192})
    async with listening(app_of(small)) as port:
        status, problem = await send(
            port, SUBMIT, "Host: localhost", "Content-Type: application/json", "Transfer-Encoding: chunked", body=chunk * 4
        )
    assert (status, problem["code"]) == (413, "payload-too-large")


async def test_a_body_in_a_coding_that_is_not_read_here_is_refused(settings: Settings) -> None:
    async with listening(app_of(settings)) as port:
        head = [SUBMIT, "Host: localhost", "Content-Type: application/json", "Transfer-Encoding: gzip, chunked"]
        status, problem = await send(port, *head, body=b"0\r\n\r\n")
    assert (status, problem["code"]) == (415, "unsupported-media")


async def test_a_body_that_stands_still_is_given_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "STILL", 0.2)
    async with listening(app_of(settings)) as port:
        status, problem = await send(
            port, SUBMIT, "Host: localhost", "Content-Type: application/json", "Content-Length: 100", body=b'{"input": '
        )
    assert (status, problem["code"]) == (408, "upload-too-slow")


async def test_a_caller_that_goes_away_in_the_middle_of_its_body_does_no_harm(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with listening(app_of(settings)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{SUBMIT}\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.1)
        assert (await send(port, "GET /livez HTTP/1.1", "Host: localhost"))[0] == 200
    assert "Traceback" not in capsys.readouterr().out
