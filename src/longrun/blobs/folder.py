"""Bytes in a folder of this machine, or of a file system that all machines mount.

Our own code and not obstore's LocalStore, which makes files that others may read, follows symbolic links, keeps half-written files
beside the others, says "disk full" as text only, and must not be used before a fork (docs/decisions/0015-blobs.md).

One flat folder (0700) of files (0600): the `/` of a key is a `+` in the file's name. A file is written as `.parts/<random>` and
renamed when it is whole; what is half written lies apart, so that it is found without a look at all files. With `strict` durability,
file and folder are synced before a put returns, so that it survives a power cut; otherwise it survives the death of any process, as
what the store holds does.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from longrun.blobs.contract import BlobNotFound, Blobs, Meter, Stored, checked, is_key, span
from longrun.errors import BlobsFull, BlobsUnavailable
from longrun.log import Log

T = TypeVar("T")
_PIECE = 256 * 1024
_PARTS = ".parts"
#: A slow upload is written down this often, so that it is not taken for one that was killed.
_REST = 5.0
_THREADS = 8
#: EFBIG: the limit of a process (RLIMIT_FSIZE) or of the file system.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a planted link is refused, a planted pipe does not block
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_log = Log(__name__, logging.getLogger(__name__))


class Folder(Blobs):
    """Keeps bytes in `root`, which is made at the first put.

    Args:
        sync: whether a put survives a power cut.
    """

    def __init__(self, root: Path, *, sync: bool = False) -> None:
        self._root, self._sync = root.absolute(), sync
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="longrun-blobs")

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, limit: int, content_type: str = "", filename: str = "") -> Stored:
        meter, target = Meter(limit), self._file(key)
        part = await self._run(_Part, self._root, undo=_Part.discard)
        try:
            waiting, written = bytearray(), time.monotonic()
            async for chunk in chunks:
                waiting += meter.pass_on(chunk)
                if len(waiting) >= _PIECE or time.monotonic() - written >= _REST:
                    await self._run(part.write, waiting)
                    waiting, written = bytearray(), time.monotonic()
            await self._run(part.write, waiting)
            await self._run(part.publish, target, self._sync)
        finally:
            # Not awaited: a second cancellation must not come between.
            part.discard()
        return meter.stored(key)

    def put_blocking(self, key: str, chunks: Iterable[bytes], *, limit: int, content_type: str = "", filename: str = "") -> Stored:
        meter, target = Meter(limit), self._file(key)
        with _translated_errors():
            part = _Part(self._root)
        try:
            for chunk in chunks:
                data = meter.pass_on(chunk)
                with _translated_errors():
                    part.write(data)
            with _translated_errors():
                part.publish(target, self._sync)
        finally:
            part.discard()
        return meter.stored(key)

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        size = await self.head(key)
        if size is None:
            raise BlobNotFound(key)
        return self._pieces(key, *span(size, start, end))

    async def _pieces(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        file = await self._run(_open, self._file(key), undo=os.close)
        try:
            while start < stop:
                data = await self._run(os.pread, file, min(_PIECE, stop - start), start)
                yield _whole(data)
                start += len(data)
        finally:
            os.close(file)

    def get_blocking(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        with _translated_errors():
            file = _open(self._file(key))
        try:
            start, stop = span(os.fstat(file).st_size, start, end)
            while start < stop:
                with _translated_errors():
                    data = os.pread(file, min(_PIECE, stop - start), start)
                yield _whole(data)
                start += len(data)
        finally:
            os.close(file)

    async def head(self, key: str) -> int | None:
        return await self._run(_size, self._file(key))

    async def delete(self, keys: Sequence[str]) -> None:
        files = [self._file(key) for key in keys]
        await self._run(_remove, files)

    async def keys(self, prefix: str = "", *, older_than: float = 0) -> list[str]:
        names = await self._run(self._older, self._root, older_than)
        keys = [name.replace("+", "/") for name in names]
        return sorted(key for key in keys if key.startswith(prefix) and is_key(key))

    async def clear_unfinished(self, older_than: float) -> int:
        parts = self._root / _PARTS
        names = await self._run(self._older, parts, older_than)
        await self._run(_remove, [parts / name for name in names])
        return len(names)

    def path(self, key: str) -> Path | None:
        file = self._file(key)
        with _translated_errors():
            return file if _size(file) is not None else None

    async def url(self, key: str, *, expires: float) -> str | None:
        return None

    async def check(self) -> None:
        await self._run(self._probe)

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    def _file(self, key: str) -> Path:
        return self._root / checked(key).replace("/", "+")

    def _probe(self) -> None:
        part = _Part(self._root)
        try:
            part.write(bytes(4096))
        finally:
            part.discard()

    def _now(self) -> float:
        """The file system's own time (it may be another machine's): that of a new file, empty, so that a full disk can be swept."""
        try:
            part = _Part(self._root)
        except OSError as error:
            if error.errno in _FULL:  # no room even for a name
                return time.time()
            raise
        try:
            return os.fstat(part.file).st_mtime
        finally:
            part.discard()

    def _older(self, folder: Path, seconds: float) -> list[str]:
        """Names of the folder's regular files not written to for so long. One that is not there yet holds none."""
        if not folder.exists():
            return []
        before = self._now() - seconds
        names = []
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # published or removed meanwhile
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode) and found.st_mtime <= before:
                        names.append(entry.name)
        return names

    async def _run(self, call: Callable[..., T], *args: Any, undo: Callable[[T], None] | None = None) -> T:
        """Call in a thread and wait for its end even when canceled: what it works on must not be closed under it.

        `undo` is given the result that nobody takes then.
        """
        future = asyncio.get_running_loop().run_in_executor(self._threads, call, *args)
        with _translated_errors():
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                while not future.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait([future])
                if future.exception() is None and undo:
                    undo(future.result())
                raise


class _Part:
    """A file that is being written and has no key yet."""

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        parts = root / _PARTS
        parts.mkdir(mode=0o700, exist_ok=True)
        self._path: Path | None = parts / secrets.token_hex(16)
        self.file = os.open(self._path, _WRITE, 0o600)

    def write(self, data: bytes | bytearray) -> None:
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                done += os.write(self.file, view[done:])

    def publish(self, target: Path, sync: bool) -> None:
        """Give it its name. A link that stands there is replaced, not followed."""
        assert self._path is not None
        if sync:
            os.fsync(self.file)
        self._path.replace(target)
        self._path = None
        if sync:
            folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Close it, and remove it unless it was published."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1
        if self._path is not None:
            with contextlib.suppress(OSError):  # `clear_unfinished` tries again
                self._path.unlink(missing_ok=True)


def _open(file: Path) -> int:
    try:
        opened = os.open(file, _READ)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            raise BlobNotFound(file.name) from None
        raise
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise BlobNotFound(file.name)
    return opened


def _size(file: Path) -> int | None:
    try:
        found = file.lstat()
    except FileNotFoundError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _whole(data: bytes) -> bytes:
    if not data:
        raise BlobsUnavailable("A stored file is shorter than it was when reading began.")
    return data


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """An OSError as the problem it is. The path stays in the log."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        _log.warning(f"the folder of files: {error}")
        if error.errno in _FULL:
            raise BlobsFull(f"The folder of files has no room: {reason}.") from error
        raise BlobsUnavailable(f"The folder of files cannot be used: {reason}.", retry_after=5) from error
