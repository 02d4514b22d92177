"""Parsers of what strangers send take time that grows as what they are given does, also when it comes in tiny pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
from starlette.datastructures import Headers
from tests.unit.growth import MOST, growth

from longrun.api.http.body import check_content_type, read_json
from longrun.api.http.jsonl import read_lines
from longrun.api.http.multipart import is_multipart, read_parts
from longrun.api.http.parameters import idempotency_key, known_versions, preference, wants_page
from longrun.api.middleware.access import bearer_protocols, is_signed, one_host, same_origin, tenant_of
from longrun.client.protocol.events import EventParser
from longrun.errors import Problem
from longrun.jobs import npy
from longrun.jobs.file_refs import with_urls
from longrun.media.names import content_disposition, safe_name
from longrun.media.scan import Scanner
from longrun.models.file_schema import read_data_uri
from longrun.webhooks.urls import Refused, read_url
from longrun.worker.frames import FrameBuffer, pack
from longrun.worker.runner.lines import Lines

_PARTS = b'--b\r\nContent-Disposition: form-data; name="f"; filename="g"\r\n\r\n'
_GIF = b"GIF89a" + bytes(7)
_PNG = b"\x89PNG\r\n\x1a\n"


def _scan(data: bytes) -> None:
    scanner = Scanner()
    scanner.feed(data)
    scanner.close()


def _scan_bytes(data: bytes) -> None:
    scanner = Scanner()
    for at in range(len(data)):
        scanner.feed(data[at : at + 1])
    scanner.close()


def _form(data: bytes, step: int) -> None:
    async def read() -> None:
        async for part in read_parts(_chunks(data, step), "multipart/form-data; boundary=b"):
            async for _ in part.chunks():
                pass

    _until_refused(lambda: asyncio.run(read()))


def _lines(data: bytes, step: int) -> None:
    async def read() -> None:
        async for _ in read_lines(_chunks(data, step), 1 << 20):
            pass

    asyncio.run(read())


async def _chunks(data: bytes, step: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]


def _until_refused(work: Callable[[], object]) -> None:
    with suppress(Problem, Refused, ValueError):
        work()


def _in_bytes(feed: Callable[[bytes], Iterable[Any]], data: bytes) -> None:
    for at in range(len(data)):
        list(feed(data[at : at + 1]))


def _repeated(each: bytes, before: bytes = b"", after: bytes = b"") -> Callable[[int], bytes]:
    return lambda n: before + each * (n // len(each)) + after


def _text(each: str, before: str = "", after: str = "") -> Callable[[int], str]:
    return lambda n: before + each * (n // len(each)) + after


FILES = {
    "text": _repeated(b"<!doctype a [ ] "),
    "a comment without an end": _repeated(b"<!--"),
    "spaces": _repeated(b" "),
    "pictures of a GIF": _repeated(b"\x2c" + bytes(4) + b"\1\0\1\0\0\2\0", _GIF),
    "blocks of a GIF": _repeated(b"\1\0", _GIF + b"\x21\0"),
    "nothing in a GIF": _repeated(b"\0", _GIF),
    "chunks of a PNG": _repeated(b"\0\0\0\0aaaa\x32\x1c\xa1\x9f", _PNG),
    "filling of a JPEG": _repeated(b"\xff", b"\xff\xd8\xff"),
    "markers of a JPEG": _repeated(b"\xff\1", b"\xff\xd8\xff\1"),
    "padding after an image": _repeated(b"\0", b"BM" + (26).to_bytes(4, "little") + bytes(8) + b"\x0c\0\0\0\1\0\1\0\1\0\1\0"),
    "tags of an MP3": _repeated(b"ID3\3\0\0\0\0\0\0"),
    "zeros in an MP3": _repeated(b"\0", b"ID3\3\0\0\0\0\0\0"),
    "blocks of a FLAC": _repeated(b"\1\0\0\0", b"fLaC\0\0\0\x22" + bytes(34)),
    "pages of an Ogg": _repeated(b"OggS" + bytes(23)),
    "boxes of an MP4": _repeated(b"\0\0\0\x08free", b"\0\0\0\x08ftypisom"),
    "chunks of a WAV": _repeated(b"aaaa\0\0\0\0", b"RIFF\xff\xff\xff\x7fWAVE"),
    "chunks of a WebP": _repeated(b"aaaa\0\0\0\0", b"RIFF\xff\xff\xff\x7fWEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\1\0\1\0"),
    "ends of a PDF": _repeated(b"%%EOF", b"%PDF-"),
    "ends of a ZIP": _repeated(b"PK\5\6", b"PK\3\4"),
    "starts of archives": _repeated(b"PK\5\6Rar!7z", _PNG),
}

#: What is called, and what it is given.
CASES: dict[str, tuple[Callable[[Any], object], Callable[[int], Any]]] = {
    **{f"a file: {name}": (_scan, make) for name, make in FILES.items()},
    **{
        f"a file in bytes: {name}": (_scan_bytes, FILES[name])
        for name in ("spaces", "filling of a JPEG", "boxes of an MP4", "ends of a PDF")
    },
    **{
        f"a form: {each!r} by {step}": (lambda data, step=step: _form(data, step), _repeated(each, _PARTS, b"\r\n--b--"))
        for step, pumps in ((1, (b"a", b"\r\n--")), (1 << 16, (b"a", b"\r", b"\r\n", b"\r\n-", b"\r\n--", b"\r\n--b", b"-", b"\n")))
        for each in pumps
    },
    "a form: before its first boundary": (lambda data: _form(data, 1 << 16), _repeated(b"\r\n--", b"", _PARTS)),
    "a form: after its last boundary": (lambda data: _form(data, 1), _repeated(b"\r\n--b", _PARTS + b"\r\n--b--\r\n")),
    "a form: one header": (lambda data: _form(data, 1), lambda n: b"--b\r\n" + b"a" * min(n, 8000) + b": a\r\n\r\n\r\n--b--"),
    **{
        f"a form: options of a header, {each!r}": (
            lambda data: _form(data, 1 << 16),
            _repeated(each, b"--b\r\nContent-Disposition: form-data; name=", b"\r\n\r\n\r\n--b--\r\n"),
        )
        for each in (b";", b'";', b'"', b'\\"', b";a=", b"; filename*=utf-8''a")
    },
    **{
        f"the type of a form: {each!r}": (
            lambda text: _until_refused(lambda: _form_of(text)),
            _text(each, "multipart/form-data; boundary="),
        )
        for each in (";", '";', '"', '\\"', ";a=", "; ")
    },
    "lines: empty ones": (lambda data: _lines(data, 1 << 16), _repeated(b"\n")),
    "lines: one in bytes": (lambda data: _lines(data, 1), _repeated(b"1")),
    "JSON: an open string": (lambda data: _until_refused(lambda: read_json(data)), _repeated(b"\\", b'"')),
    "JSON: brackets": (lambda data: _until_refused(lambda: read_json(data)), _repeated(b"[]", b"[" * 99)),
    "JSON: open brackets": (lambda data: _until_refused(lambda: read_json(data)), _repeated(b"[")),
    "JSON: one number": (lambda data: _until_refused(lambda: read_json(data)), _repeated(b"9")),
    "JSON: the same key": (lambda data: _until_refused(lambda: read_json(data)), _repeated(b'"a":1,', b"{", b'"a":1}')),
    "Content-Type": (lambda text: _until_refused(lambda: check_content_type(text)), _text(";charset", "application/json")),
    "Accept": (wants_page, _text("a;q=,")),
    "Accept: parameters": (wants_page, _text(";q=", "application/json")),
    "Prefer": (lambda text: preference([text]), _text("wait = ,")),
    "Prefer: many": (preference, lambda n: ["wait"] * (n // 4)),
    "If-None-Match": (lambda text: known_versions([text]), _text('W/"1",')),
    "Idempotency-Key": (lambda text: _until_refused(lambda: idempotency_key([text])), _text('\\"', '"')),
    "Host": (lambda text: one_host([text], "1.1"), _text(":1")),
    "Origin": (lambda text: same_origin(text, "a"), _text(":/@", "http://")),
    "Authorization": (lambda text: _until_refused(lambda: tenant_of([text], {"a": b"k"})), _text(" a", "Bearer ")),
    "a key as subprotocol": (bearer_protocols, lambda n: ["bearer.YWFh"] * (n // 11)),
    "a signed URL": (is_signed, _repeated(b"&si")),
    "headers": (lambda raw: Headers(raw=raw).getlist("a"), lambda n: [(b"a", b"")] * n),
    "the name of a file: spaces": (safe_name, _text(" ", "a", "a")),
    "the name of a file: folders": (safe_name, _text("/")),
    "the name of a file: accents": (safe_name, _text("\u0301\u0316", "a")),
    "the name of a file in a header": (content_disposition, _text("\ufdfa")),
    "a data: URI": (read_data_uri, _text("%", "data:,")),
    "a data: URI: base64": (read_data_uri, _text("=", "data:;base64,")),
    "a URL": (lambda text: _until_refused(lambda: read_url(text)), _text("a.", "https://")),
    "URLs in an output": (lambda data: with_urls(data, str), _repeated(b'"longrun-file:file_' + b"0" * 32 + b'"')),
    "events: one in bytes": (lambda data: _in_bytes(EventParser().feed, data), _repeated(b"a", b"data: ")),
    "events: many lines": (EventParser().feed, _repeated(b"data: a\r")),
    "frames in bytes": (lambda data: _in_bytes(FrameBuffer().feed, data), lambda n: pack("a" * n)),
    "frames: many": (FrameBuffer().feed, _repeated(pack("a"))),
    "printed: one line in bytes": (lambda data: _in_bytes(Lines().feed, data), _repeated(b"a")),
    "printed: returns": (Lines().feed, _repeated(b"a\r")),
    "printed: empty lines": (Lines().feed, _repeated(b"\n")),
    "the head of an array": (lambda data: _until_refused(lambda: npy.read_head(data)), lambda n: b"\x93NUMPY\1\0\xff\xff" + b"1" * n),
}


def _form_of(content_type: str) -> None:
    async def read() -> None:
        async for _ in read_parts(_chunks(b"", 1), content_type):
            pass

    is_multipart(content_type)
    asyncio.run(read())


@pytest.mark.parametrize("name", CASES)
def test_the_time_grows_with_what_it_is_given(name: str) -> None:
    work, make = CASES[name]
    assert growth(work, make, 16384) < MOST
