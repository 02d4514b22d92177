"""Files on a server, and downloads: into memory, or into a file that is complete or not there at all."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing
from pathlib import Path
from typing import Self

from longrun.client.caller import AsyncCaller, Caller
from longrun.client.http.steps import Json
from longrun.client.protocol.calls import get, path_of
from longrun.client.protocol.download import Piece, Wanted, fetch
from longrun.client.protocol.files import StoredFile, absolute, target


class RemoteFile(StoredFile):
    """A file on a server: its JSON (`file["url"]`, `file.size`, …), and its bytes when they are asked for."""

    def __init__(self, caller: Caller, body: Json) -> None:
        super().__init__({**body, "url": absolute(caller.rules.url, str(body["url"]))})
        self._caller = caller

    def read(self) -> bytes:
        """All bytes, in memory.

        Raises:
            ApiError: `file-not-found` (404), `file-gone` (410) or another problem.
            Unreachable, DownloadBroken
        """
        held = bytearray()
        for piece in self._caller.iterate(fetch, Wanted.of(self)):
            collect(held, piece)
        return bytes(held)

    def save(self, to: str | Path = ".") -> Path:
        """Fetch it into a file. See `Client.download`."""
        return download(self._caller, self, to)


class AsyncRemoteFile(StoredFile):
    """A file on a server; see `RemoteFile`, whose methods it has."""

    def __init__(self, caller: AsyncCaller, body: Json) -> None:
        super().__init__({**body, "url": absolute(caller.rules.url, str(body["url"]))})
        self._caller = caller

    async def read(self) -> bytes:
        """See `RemoteFile.read`."""
        held = bytearray()
        async with aclosing(self._caller.iterate(fetch, Wanted.of(self))) as pieces:
            async for piece in pieces:
                collect(held, piece)
        return bytes(held)

    async def save(self, to: str | Path = ".") -> Path:
        """See `RemoteFile.save`."""
        return await async_download(self._caller, self, to)


def download(caller: Caller, file: str | Json, to: str | Path) -> Path:
    """See `Client.download`."""
    found = caller.run(get, path_of("files", file)) if isinstance(file, str) and file.startswith("file_") else file
    path = target(found, Path(to))
    with Saving(path) as saving:
        for piece in caller.iterate(fetch, _wanted(caller.rules.url, found)):
            saving.write(piece)
    return path


async def async_download(caller: AsyncCaller, file: str | Json, to: str | Path) -> Path:
    """See `Client.download`."""
    found = await caller.run(get, path_of("files", file)) if isinstance(file, str) and file.startswith("file_") else file
    path = await asyncio.to_thread(target, found, Path(to))
    with Saving(path) as saving:
        async with aclosing(caller.iterate(fetch, _wanted(caller.rules.url, found))) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(saving.write, piece)
    return path


def _wanted(server: str, file: str | Json) -> Wanted:
    return Wanted(absolute(server, file)) if isinstance(file, str) else Wanted.of(file)


class Saving:
    """A file that is written under another name beside its place and renamed when it is complete. A context manager.

    Args:
        to: what it will be called. A file of that name is replaced.
    """

    def __init__(self, to: Path) -> None:
        self._to = to
        self._part = to.with_name(f".longrun-{uuid.uuid4().hex}.part")
        self._at = 0

    def __enter__(self) -> Self:
        self._file = self._part.open("xb")
        return self

    def write(self, piece: Piece) -> None:
        """Write a piece at its position. Raises OSError."""
        if piece.at != self._at:
            self._file.seek(piece.at)
            self._file.truncate()
        self._file.write(piece.data)
        self._at = piece.at + len(piece.data)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._file.close()
            if kind is None:
                self._part.replace(self._to)
        finally:
            self._part.unlink(missing_ok=True)


def collect(held: bytearray, piece: Piece) -> None:
    """Write a piece at its position in memory."""
    del held[piece.at :]
    held += piece.data
