"""Bodies of requests that are read from disk while they are sent, and again from their beginning at each try.

With files in them `multipart/form-data` (RFC 7578), of many inputs JSON lines.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO

PIECE = 256 * 1024  #: bytes read at once
#: One file object may be in several inputs that are sent at the same time, and has one position only.
_POSITION = threading.Lock()


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of a file come from, as often as they are asked for.

    Args:
        open: a binary file to read them from, at its beginning.
        name: for people; "" = none.
        content_type: what the caller says it is. The server judges by the bytes.
    """

    open: Callable[[], Any]
    name: str = ""
    content_type: str = ""

    @classmethod
    def of(cls, value: Any, name: str = "") -> Source:
        """The source of a path, an open binary file, bytes, or a `longrun.File`.

        Raises:
            TypeError: it is none of these.
        """
        if isinstance(value, Path):
            return cls(lambda: value.open("rb"), name or value.name)
        if isinstance(value, bytes | bytearray | memoryview):
            return cls(lambda: io.BytesIO(value), name)
        if _is_model_file(value):
            return cls(value.open, name or value.name, value.content_type)
        if isinstance(value, io.TextIOBase):
            raise TypeError("a file that is opened for text cannot be sent; open it with 'rb'")
        if not callable(getattr(value, "read", None)):
            raise TypeError(f"{type(value).__name__} is no file: give a pathlib.Path, an open binary file, or bytes")
        shared: Any = value if value.seekable() else _Spooled(value)
        return cls(lambda: _Shared(shared), name or _name_of(value))

    def size(self) -> int:
        """Bytes. Raises OSError: it cannot be read."""
        with self.open() as file:
            return int(file.seek(0, SEEK_END))

    def pieces(self) -> Iterator[bytes]:
        """The bytes in pieces. Raises OSError: it cannot be read."""
        with self.open() as file:
            while piece := file.read(PIECE):
                yield piece


def is_file(value: object) -> bool:
    """Whether it is sent as a file: a path, an open file, bytes, or a `longrun.File`. A str is never a path."""
    return isinstance(value, Path | bytes | bytearray | memoryview | io.IOBase) or _is_model_file(value) or _is_temporary(value)


def _is_model_file(value: object) -> bool:
    """Whether it is a `longrun.File`, judged by its attributes: the client imports nothing of the server."""
    return not isinstance(value, Path | io.IOBase) and all(hasattr(value, name) for name in ("open", "data_uri", "content_type", "name"))


def _is_temporary(value: object) -> bool:
    """Whether it is one of `tempfile`'s wrappers, which are no `io.IOBase`."""
    return callable(getattr(value, "read", None)) and callable(getattr(value, "seekable", None))


def _name_of(file: Any) -> str:
    name = getattr(file, "name", "")
    return Path(name).name if isinstance(name, str) and not name.startswith("<") else ""


class _Spooled(tempfile.SpooledTemporaryFile[bytes]):
    """A copy of what a pipe gives, for a second try; on disk if it is large. Closed with the source that reads it."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        super().__init__(max_size=4 * PIECE)
        while file is not None and (piece := file.read(PIECE)):
            self.write(piece)

    def __del__(self) -> None:
        self.close()


class _Shared(io.RawIOBase):
    """A reader of a file object with a position of its own. It leaves the file open: the caller closes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0

    def read(self, size: int = -1, /) -> bytes:
        with _POSITION:
            self._file.seek(self._at)
            piece = self._file.read(size)
            if isinstance(piece, str):
                raise TypeError("a file that is opened for text cannot be sent; open it in binary mode")
            self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with _POSITION:
            self._at = self._file.seek(offset, whence)
        return self._at


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a form.

    Args:
        name: of the field.
        content: JSON text, or a file.
    """

    name: str
    content: bytes | Source

    def head(self) -> bytes:
        """Its header lines."""
        disposition, content_type = f'form-data; name="{_escaped(self.name)}"', "application/json"
        if isinstance(self.content, Source):
            # A part without a file name would be no file.
            disposition += f'; filename="{_escaped(self.content.name or "file")}"'
            content_type = self.content.content_type or "application/octet-stream"
        return f"Content-Disposition: {disposition}\r\nContent-Type: {content_type}\r\n\r\n".encode("utf-8", "replace")


def _escaped(name: str) -> str:
    """As browsers write names (WHATWG HTML, "multipart/form-data encoding algorithm")."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


class Multipart:
    """A form, which can be sent again."""

    def __init__(self, parts: Sequence[Part]) -> None:
        boundary = f"longrun-{uuid.uuid4().hex}"
        self.content_type = f"multipart/form-data; boundary={boundary}"  #: the header
        self._content: list[bytes | Source] = []
        for part in parts:
            self._content += [f"--{boundary}\r\n".encode() + part.head(), part.content, b"\r\n"]
        self._content.append(f"--{boundary}--\r\n".encode())

    def length(self) -> int:
        """Bytes of it all, as long as no file changes. Raises OSError: a file cannot be read."""
        return sum(each.size() if isinstance(each, Source) else len(each) for each in self._content)

    def __iter__(self) -> Iterator[bytes]:
        for each in self._content:
            if isinstance(each, Source):
                yield from each.pieces()
            else:
                yield each


class Lines:
    """A body of JSON lines, which can be sent again; on disk if it is large."""

    content_type = "application/x-ndjson"  #: the header

    def __init__(self) -> None:
        self.count = 0
        self._size = 0
        file: Any = _Spooled()  # which is no BinaryIO by its type
        self._file = file

    def add(self, line: bytes) -> None:
        """Add a line, given without its line break. Raises OSError: the disk is full."""
        self._size += self._file.write(line + b"\n")
        self.count += 1

    def length(self) -> int:
        """Bytes of it all."""
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return Source(lambda: _Shared(self._file)).pieces()


Streamed = Multipart | Lines  #: a body that is read while it is sent


class AsyncBody:
    """The same for asyncio: files are read on a thread."""

    def __init__(self, body: Streamed) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self._body)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
