"""Reading multipart/form-data (RFC 7578) as it comes: part by part, and nothing is held but the piece at hand."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Generator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from longrun.errors import MalformedRequest, PayloadTooLarge, UploadTooSlow

T = TypeVar("T")

MOST_PARTS = 200
#: Bytes of the headers of one part.
MOST_HEADERS = 8 * 1024
#: Seconds without a byte after which an upload is given up.
STILL = 20.0
_LONGEST_BOUNDARY = 70
#: Bytes after the last boundary that are read and left out, so that the connection can be used again.
_LONGEST_END = 64 * 1024
#: A quoted text, also one without its end: each byte is looked at once.
_QUOTED = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
#: A name as RFC 8187 has it. RFC 7578 wants none in a form; some clients send it for names that are not ASCII.
_EXTENDED = re.compile(rb";\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^';]*'([^\s;]*)", re.IGNORECASE)


def is_multipart(content_type: str | None) -> bool:
    """Whether a header says multipart/form-data."""
    return (content_type or "").partition(";")[0].strip().lower() == "multipart/form-data"


@dataclass(slots=True)
class Part:
    """One part of a form.

    Args:
        name: of the field.
        filename: what the caller calls the file; None: it is no file.
        content_type: what the caller says it is.
    """

    name: str
    filename: str | None
    content_type: str
    _form: Form = field(repr=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes, as they come. Raises as `read_parts` does."""
        while (data := await self._form.data()) is not None:
            yield data

    async def text(self, most: int) -> bytes:
        """All of its bytes, `most` at most. Raises PayloadTooLarge, and as `read_parts` does."""
        held = bytearray()
        async for data in self.chunks():
            held += data
            if len(held) > most:
                raise PayloadTooLarge(f"The fields of a form that are no files may have {most:,} bytes at most.", limit=most)
        return bytes(held)


async def read_parts(stream: AsyncIterator[bytes], content_type: str) -> AsyncIterator[Part]:
    """The parts of a body, in order. What is not read of a part when the next one is asked for is left out.

    Raises:
        MalformedRequest: the body is no form, or ends in the middle.
        PayloadTooLarge: it has too many parts, or a part has too many headers.
        UploadTooSlow: it stands still.
    """
    form = Form(stream, _boundary(content_type))
    for number in count():
        part = await form.next_part()
        if part is None:
            await form.finish()
            return
        if number == MOST_PARTS:
            raise PayloadTooLarge(f"A form may have {MOST_PARTS} parts at most.", limit=MOST_PARTS)
        yield part


def _boundary(content_type: str) -> bytes:
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise MalformedRequest(f"The content type needs a boundary of 1 to {_LONGEST_BOUNDARY} characters.")
    return boundary


class Form:
    """A body being read. The parser calls back; what it says waits here until somebody asks."""

    def __init__(self, stream: AsyncIterator[bytes], boundary: bytes) -> None:
        self._stream = stream
        #: What was read and nobody has asked for yet: the headers of a part, bytes of it, or None at its end.
        self._events: deque[dict[str, bytes] | bytes | None] = deque()
        self._headers: dict[str, bytes] = {}  #: of the part that is read now
        self._name, self._value, self._size = b"", b"", 0
        self._over = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_begin,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_headers,
                "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
                "on_part_end": lambda: self._events.append(None),
                "on_end": self._on_end,
            },
            max_header_size=MOST_HEADERS,
        )

    async def next_part(self) -> Part | None:
        """The next part; None: there is none."""
        while await self._fill():
            event = self._events.popleft()
            if isinstance(event, dict):
                return self._part(event)
        return None

    async def data(self) -> bytes | None:
        """More of the part at hand; None: it has ended."""
        if not await self._fill() or isinstance(event := self._events[0], dict):
            return None
        self._events.popleft()
        return event

    async def finish(self) -> None:
        """Read what follows the last boundary: little, or the connection is closed. Raises UploadTooSlow: the body does not end."""
        size = 0
        while size <= _LONGEST_END and (data := await self._piece()) is not None:
            size += len(data)

    async def _fill(self) -> bool:
        """Read until there is an event; False: the form is over."""
        while not self._events and not self._over:
            await self._read()
        return bool(self._events)

    async def _piece(self) -> bytes | None:
        return await in_time(anext(self._stream, None))

    async def _read(self) -> None:
        data = await self._piece()
        if data is None:
            raise MalformedRequest("The form ends in the middle: its last boundary is missing.")
        try:
            self._parser.write(data)
        except FormParserError as error:
            if "header" in str(error).lower() and "maximum" in str(error).lower():
                raise _too_many_headers() from None
            raise MalformedRequest("The body is not a form as multipart/form-data has it, or not with this boundary.") from None

    def _part(self, headers: dict[str, bytes]) -> Part:
        disposition = headers.get("content-disposition", b"")
        kind, options = parse_options_header(_decoded(disposition))
        if kind != b"form-data" or b"name" not in options:
            raise MalformedRequest("Each part of a form needs `Content-Disposition: form-data; name=…`.")
        if headers.get("content-transfer-encoding", b"binary").strip().lower() not in (b"binary", b"8bit", b"7bit"):
            raise MalformedRequest("Parts with a Content-Transfer-Encoding are not read here: send the bytes as they are.")
        filename = options.get(b"filename")
        given = _extended(disposition) or (None if filename is None else _text(filename))
        return Part(_text(options[b"name"]), given, _decoded(headers.get("content-type", b"")), self)

    def _on_begin(self) -> None:
        self._headers, self._size = {}, 0
        self._name = self._value = b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._name += self._counted(data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._counted(data[start:end])

    def _counted(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size > MOST_HEADERS:
            raise _too_many_headers()
        return data

    def _on_header(self) -> None:
        name = _decoded(self._name).strip().lower()
        if name in self._headers:
            raise MalformedRequest("A part of the form has the same header twice.")
        self._headers[name] = self._value
        self._name = self._value = b""

    def _on_headers(self) -> None:
        self._events.append(self._headers)

    def _on_end(self) -> None:
        self._over = True


async def steady(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A body that may not stand still. Raises UploadTooSlow."""
    while (piece := await in_time(anext(stream, None))) is not None:
        yield piece


class _Rest(Awaitable[T]):
    """What is left of an awaitable whose first step was taken, and waits for `waits_for`."""

    def __init__(self, steps: Generator[Any, Any, T], waits_for: Any) -> None:
        self._steps, self._waits_for = steps, waits_for

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            yield self._waits_for
        except BaseException as error:  # the timer's CancelledError, among others: it is for whom we wait
            try:
                yield self._steps.throw(error)
            except StopIteration as came:
                return came.value  # type: ignore[no-any-return]
        return (yield from self._steps)


async def in_time(piece: Awaitable[T]) -> T:
    """A piece of a body, when it comes. Raises UploadTooSlow when nothing does."""
    steps = piece.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as came:
        # Most bodies are here before anybody asks for them: they need no timer, which would cost more than to read them.
        return came.value  # type: ignore[no-any-return]
    try:
        async with asyncio.timeout(STILL):
            return await _Rest(steps, waits_for)
    except TimeoutError:
        raise UploadTooSlow(f"Nothing came for {STILL:g} seconds; nothing was stored.") from None


def _too_many_headers() -> PayloadTooLarge:
    return PayloadTooLarge(f"The headers of a part may have {MOST_HEADERS:,} bytes at most.", limit=MOST_HEADERS)


def _decoded(data: bytes) -> str:
    return data.decode("latin-1")


def _text(data: bytes) -> str:
    """Names are UTF-8 from everybody of today (RFC 7578, 5.1), and Latin-1 from the others."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _extended(disposition: bytes) -> str | None:
    """The name that `filename*` gives; None: there is none."""
    found = _EXTENDED.search(_QUOTED.sub(b'""', disposition))
    return None if found is None else unquote_to_bytes(found[2]).decode(found[1].decode().lower(), "replace")
