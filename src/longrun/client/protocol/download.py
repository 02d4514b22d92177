"""Downloading the bytes of a file, over as many connections as it takes."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from longrun.client.http.retry import Rules, Tries
from longrun.client.http.steps import SILENCE, Answer, Flow, Give, Json, Lost, Request, read, send
from longrun.client.protocol.calls import path_of
from longrun.errors import DownloadBroken

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file, and where they begin. They replace everything from there on that came before."""

    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be fetched.

    Args:
        path: after `/api/v1`, or a whole URL.
        size: bytes; None = not known.
        digest: `sha-256=<base64>`; "" = not known.
    """

    path: str
    size: int | None = None
    digest: str = ""

    @classmethod
    def of(cls, file: Json) -> Wanted:
        """A file by its JSON. Its `url` is not used: that is valid for a while only."""
        return cls(path_of("files", str(file["id"]), "/content"), file.get("size"), str(file.get("digest") or ""))


def fetch(rules: Rules, wanted: Wanted) -> Flow[None]:
    """Give the bytes as `Piece`s. When the connection breaks, a new one goes on where it was, if the server can do that.

    Raises:
        ApiError, Unreachable
        DownloadBroken: the bytes are not those that they should be.
    """
    tries = Tries(rules)
    got = _Got(wanted)
    while True:
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={got.size}-"} if got.size else {})}
        reply = yield from send(Request("GET", wanted.path, headers, limit=SILENCE), "content")
        if isinstance(reply, Answer) and reply.is_content:
            got.begin(reply)
            before = got.size
            cut = yield from _read_on(got)
            if cut is None:
                return got.check(rules.url)
            reply = cut
            if got.size > before:
                tries.alive()
                tries.succeeded()
        yield from tries.wait(reply)


def _read_on(got: _Got) -> Flow[Lost | None]:
    """Give the pieces of an open answer; returns why no more came, or None: the file is complete."""
    while True:
        data = yield from read()
        if isinstance(data, Lost):
            return data
        if not data:
            return None if got.whole else Lost("the answer ended before the file")
        piece = Piece(got.size, data)
        got.take(data)
        yield Give(piece)


class _Got:
    """The part of the file that has come so far."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted, self._total, self._digest = wanted, wanted.size, wanted.digest
        self._forget()

    def _forget(self) -> None:
        self.size, self._hash = 0, hashlib.sha256()

    def begin(self, answer: Answer) -> None:
        """An answer begins: the part that was asked for, or else the whole file."""
        part = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", "")) if answer.status == 206 else None
        if self.size and (part is None or int(part[1]) != self.size):
            self._forget()
        if self._total is None:
            length = part[2] if part else answer.headers.get("content-length", "")
            self._total = int(length) if length.isdecimal() else None
        self._digest = self._digest or digest_of(answer.headers)

    def take(self, data: bytes) -> None:
        """The next bytes."""
        self.size += len(data)
        self._hash.update(data)

    @property
    def whole(self) -> bool:
        """Whether the file is complete, as far as its size is known."""
        return self._total is None or self.size >= self._total

    def check(self, url: str) -> None:
        """Raises DownloadBroken: too many bytes, or others."""
        digest = "sha-256=" + base64.b64encode(self._hash.digest()).decode()
        if (self._total is not None and self.size != self._total) or (self._digest and digest != self._digest):
            raise DownloadBroken(f"{url}: what came of {self._wanted.path.partition('?')[0]} is not the file: {self.size} bytes, {digest}")


def digest_of(headers: Mapping[str, str]) -> str:
    """The SHA-256 of an answer's Repr-Digest (RFC 9530), as our servers write it; "" = there is none."""
    found = re.search(r"(?:^|[\s,])sha-256=:([A-Za-z0-9+/=]+):", headers.get("repr-digest", ""))
    return f"sha-256={found[1]}" if found else ""
