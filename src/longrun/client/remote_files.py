"""Files on a server as the two clients hand them out."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from longrun.client.fetching import Wanted, fetch
from longrun.client.files import Json, StoredFile, absolute
from longrun.client.saving import collect

if TYPE_CHECKING:
    from longrun.client.aio import AsyncClient
    from longrun.client.sync import Client


class RemoteFile(StoredFile):
    """A file on a server: its JSON (`file["url"]`, `file.size`, …), and its bytes when they are asked for."""

    def __init__(self, client: Client, body: Json) -> None:
        super().__init__({**body, "url": absolute(client.url, str(body["url"]))})
        self._client = client

    def read(self) -> bytes:
        """All bytes, in memory.

        Raises:
            ApiError: `file-not-found` (404), `file-gone` (410) or another problem.
            Unreachable, DownloadBroken
        """
        held = bytearray()
        for piece in self._client.connection.iterate(fetch(self._client.rules, Wanted.of(self))):
            collect(held, piece)
        return bytes(held)

    def save(self, to: str | Path = ".") -> Path:
        """Fetch it into a file. See `Client.download`."""
        return self._client.download(self, to)


class AsyncRemoteFile(StoredFile):
    """A file on a server; see `RemoteFile`, whose verbs it has."""

    def __init__(self, client: AsyncClient, body: Json) -> None:
        super().__init__({**body, "url": absolute(client.url, str(body["url"]))})
        self._client = client

    async def read(self) -> bytes:
        """See `RemoteFile.read`."""
        held = bytearray()
        async with aclosing(self._client.connection.iterate(fetch(self._client.rules, Wanted.of(self)))) as pieces:
            async for piece in pieces:
                collect(held, piece)
        return bytes(held)

    async def save(self, to: str | Path = ".") -> Path:
        """See `RemoteFile.save`."""
        return await self._client.download(self, to)
