"""What a blob store promises, whichever it is: `folder` (default) or `bucket` (S3, MinIO).

- A key becomes visible whole or not at all. A put that fails, is too large or is canceled leaves nothing.
- Two puts of one key: one of the two is there afterwards, never a mixture. Keys are meant to be written once.
- Nothing holds a file in memory: a folder works in pieces of 256 KB, a bucket in parts of 5 MB.
- Every call ends within seconds when the blob store is away: it raises `BlobsUnavailable` or `BlobsFull`.

A blob store may be made before a fork, and used in one process only: obstore hangs in a forked child of a process that has used it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from longrun.errors import LongrunError, PayloadTooLarge

KEY_LENGTH = 200
#: A name never begins with a dot: those are the blob store's own (half-written files, the probe of `check`).
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


class BlobNotFound(LongrunError, LookupError):
    """Nothing is stored under this key."""


class BadKey(LongrunError, ValueError):
    """Not a key: a defect of ours, or a name from outside that was taken for one."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a put has stored: `size` in bytes, `digest` as `sha-256=<base64>`."""

    key: str
    size: int
    digest: str


class Meter:
    """Counts and digests what passes, and stops it at the limit."""

    def __init__(self, limit: int) -> None:
        self.size, self._limit, self._hash = 0, limit, hashlib.sha256()

    def pass_on(self, data: bytes) -> bytes:
        """Count `data` and give it back. Raises PayloadTooLarge: it goes over the limit."""
        self.size += len(data)
        if self.size > self._limit:
            raise PayloadTooLarge(f"A file may be {self._limit:,} bytes at most here.", limit=self._limit)
        self._hash.update(data)
        return data

    def stored(self, key: str) -> Stored:
        """What has passed, as stored under `key`."""
        return Stored(key, self.size, "sha-256=" + base64.b64encode(self._hash.digest()).decode())


def is_key(text: str) -> bool:
    """Whether `text` can be a key: letters, digits, `_`, `-`, `.` and `/` between names; no name begins with a dot; 200 characters."""
    return len(text) <= KEY_LENGTH and _KEY.fullmatch(text) is not None


def checked(key: str) -> str:
    """The key itself. Raises BadKey: it is not one."""
    if not is_key(key):
        raise BadKey(f"not a key: {key[:KEY_LENGTH]!r}")
    return key


def span(size: int, start: int, end: int | None) -> tuple[int, int]:
    """The part of `size` bytes that the half-open range names; what lies outside is left out."""
    stop = size if end is None else min(max(end, 0), size)
    return min(max(start, 0), stop), stop


class Blobs(ABC):
    """Bytes under keys. The methods named `…_blocking` are for threads without an event loop, such as a runner's.

    All methods raise BadKey for what is no key, and BlobsUnavailable when the blob store cannot be used.
    """

    @abstractmethod
    async def put(self, key: str, chunks: AsyncIterator[bytes], *, limit: int, content_type: str = "", filename: str = "") -> Stored:
        """Store what `chunks` gives, as it comes.

        Args:
            limit: bytes allowed; one more ends the upload at once.
            content_type: what a bucket answers under its signed URLs; default `application/octet-stream`.
            filename: the name a bucket offers for saving there. It is always an attachment.

        Raises:
            PayloadTooLarge: more than `limit` came.
            BlobsFull: no room.
            Exception: whatever `chunks` raises.
        """

    @abstractmethod
    def put_blocking(self, key: str, chunks: Iterable[bytes], *, limit: int, content_type: str = "", filename: str = "") -> Stored:
        """As `put`."""

    async def put_bytes(self, key: str, data: bytes, *, content_type: str = "", filename: str = "") -> Stored:
        """Store `data`. Raises as `put` does."""
        return await self.put(key, _once(data), limit=len(data), content_type=content_type, filename=filename)

    @abstractmethod
    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`; what lies past the file's end is left out.

        Raises:
            BlobNotFound: before the first byte.
        """

    @abstractmethod
    def get_blocking(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """As `get`."""

    async def read(self, key: str, limit: int) -> bytes:
        """All bytes at once. Raises BlobNotFound; PayloadTooLarge: there are more than `limit`."""
        meter = Meter(limit)
        return b"".join([meter.pass_on(chunk) async for chunk in await self.get(key)])

    def read_blocking(self, key: str, limit: int) -> bytes:
        """As `read`."""
        meter = Meter(limit)
        return b"".join(meter.pass_on(chunk) for chunk in self.get_blocking(key))

    @abstractmethod
    async def head(self, key: str) -> int | None:
        """The size in bytes; None: nothing is stored under this key."""

    @abstractmethod
    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these; those that are not there count as removed."""

    @abstractmethod
    async def keys(self, prefix: str = "", *, older_than: float = 0) -> list[str]:
        """Keys that begin with `prefix` and were written at least `older_than` seconds ago by the blob store's own clock."""

    @abstractmethod
    async def clear_unfinished(self, older_than: float) -> int:
        """Remove what killed uploads left and was not written to for `older_than` seconds; the number removed."""

    @abstractmethod
    def path(self, key: str) -> Path | None:
        """The file itself where this machine has it, to be read and not changed; None: there is none, use `get_blocking`."""

    @abstractmethod
    async def url(self, key: str, *, expires: float) -> str | None:
        """A URL that gives the bytes to anybody for `expires` seconds; None: the blob store has none, sign our own (`signing`)."""

    @abstractmethod
    async def check(self) -> None:
        """Write a probe. Raises BlobsUnavailable or BlobsFull, with the reason for an operator."""

    def close(self) -> None:  # noqa: B027  a bucket has nothing to give back
        """Give back threads. The blob store is not used any more."""


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
