"""Files in the store: their records, which jobs need them, and whose bytes may go. Bytes themselves are `longrun.blobs`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from longrun.jobs.file_refs import FileRef
from longrun.settings import Settings
from longrun.store.connection import Connection
from longrun.store.kinds import FILE, is_there

#: Files that a job may be given (what an attempt may make: `lib_ends.lua`).
MOST_FILES = 1000
#: Seconds in which a job must come to need a file that has no time of its own.
UNBOUND = 3600.0
MOST = 100


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What the store knows of a file. Times are milliseconds since the epoch."""

    ref: FileRef
    tenant: str
    created: int
    expires: int | None  #: None: it lives with the jobs that need it


class Files:
    """See the module."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._run, self._command, self._prefix = connection.run, connection.command, settings.prefix
        self._tombstone = int(settings.tombstone * 1000)
        self._nonce = secrets.token_hex(8)

    async def add(self, tenant: str, ref: FileRef, *, keep: float | None) -> FileRecord:
        """Make the record of a file whose bytes are stored.

        Args:
            tenant: whose it is.
            ref: the file; its id is fresh.
            keep: seconds that it lives. None: it goes with the last job that needs it, or in an hour when none came to need it.

        Raises:
            FileGone: it was there, and is gone.
        """
        life = "" if keep is None else int(keep * 1000)
        reply = await self._run("add_file", ref.id, tenant, orjson.dumps(ref.members()), ref.key, life, int(UNBOUND * 1000))
        created, expires = FILE.found(ref.id, reply)
        return FileRecord(ref, tenant, int(created), _time(expires))

    async def read(self, file_id: str, tenant: str) -> FileRecord:
        """The file.

        Raises:
            FileNotFound: unknown, or another tenant's.
            FileGone: deleted or expired.
        """
        (row,) = await self._run("read_files", tenant, 1, file_id)
        return _record(FILE.found(file_id, row))

    async def owned(self, file_id: str) -> tuple[str, FileRecord | None]:
        """Whose file it is, for those who have a signed URL; also when it is gone: the record is None then.

        A tenant without a name: there never was such a file.
        """
        (row,) = await self._run("read_files", "", 0, file_id)
        return ("" if len(row) == 1 else row[1].decode()), _record(row) if is_there(row) else None

    async def read_all(self, ids: Sequence[str], tenant: str) -> list[FileRecord | None]:
        """Up to 100 files; None for what is not there, gone, or another tenant's."""
        return [_record(row) if is_there(row) else None for row in await self._run("read_files", tenant, 1, *ids)]

    async def delete(self, file_id: str, tenant: str) -> None:
        """Erase a file: hidden at once; its bytes go when no job needs them.

        Raises:
            FileNotFound, FileGone
        """
        FILE.found(file_id, await self._run("delete_file", file_id, tenant, self._tombstone, secrets.token_hex(8)))

    async def discard(self, ids: Sequence[str], tenant: str) -> None:
        """Forget files that came with a request and that no job came to need; nothing happens to others."""
        for at in range(0, len(ids), MOST):
            await self._run("discard_files", tenant, *ids[at : at + MOST])

    async def needed(self, keys: Sequence[str]) -> set[str]:
        """Of up to 100 keys of the blob store those that are not to be swept.

        They are a file's that is not gone or that a job needs, were written by an attempt that runs now, or are in the trash already.
        """
        return {key for key, keep in zip(keys, await self._run("needed_files", *keys), strict=True) if keep}

    async def expire(self) -> int:
        """Remove files whose time is over, and those of erased jobs; how many were looked at (<= 100)."""
        return int(await self._run("expire_files", self._tombstone, MOST))

    async def trash(self, lain: float = 0) -> list[str]:
        """Up to 100 keys whose bytes are to be removed, the oldest first; of those that have lain there for `lain` seconds."""
        trash, time = self._command("ZRANGE", f"{self._prefix}trash", 0, MOST - 1, "WITHSCORES"), self._command("TIME")
        flat, (seconds, _) = await asyncio.gather(trash, time)
        until = (int(seconds) + 1 - lain) * 1000
        return [key.decode() for key, at in zip(flat[::2], flat[1::2], strict=True) if float(at) <= until]

    async def trashed(self, keys: Sequence[str]) -> None:
        """The bytes of these are removed."""
        if keys:
            await self._command("ZREM", f"{self._prefix}trash", *keys)

    async def secret(self) -> bytes:
        """32 random bytes that sign the URLs of files: the same ones for ever, for all processes."""
        return bytes(await self._run("file_secret", secrets.token_bytes(32)))

    async def sweep_turn(self, seconds: float) -> bool:
        """Whether this process may sweep the blob store now. For so many seconds nobody else may."""
        key, nonce = f"{self._prefix}file-sweep", secrets.token_hex(8)
        await self._command("SET", key, nonce, "NX", "PX", int(seconds * 1000))
        if await self._command("GET", key) != nonce.encode():
            return False
        self._nonce = nonce
        return True

    async def hold_turn(self, seconds: float) -> None:
        """Extend the turn of this process to so many seconds from now, if it still has it."""
        key = f"{self._prefix}file-sweep"
        if await self._command("GET", key) == self._nonce.encode():
            await self._command("PEXPIRE", key, int(seconds * 1000))


def _record(row: Sequence[Any]) -> FileRecord:
    ref, tenant, created, expires = row
    return FileRecord(FileRef.of(orjson.loads(ref)), tenant.decode(), int(created), _time(expires))


def _time(ms: bytes) -> int | None:
    return int(ms) if ms else None
