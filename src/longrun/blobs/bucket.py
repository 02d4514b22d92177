"""Bytes in a bucket of S3 or of a server that speaks its protocol. The one module that imports obstore.

What obstore (0.12) does and does not do, tried against a server:
- A multipart upload is aborted when its iterator raises, and stays for ever when its task is canceled: `_Feed` makes the second the first.
- It cannot list multipart uploads, so those of a killed process need a lifecycle rule of the bucket (docs/operating.md).
- The order to complete a multipart upload is repeated when its answer takes long. If the first was done, the second fails: `_is_over`.
- A bucket that is gone looks like a key that is not there; only the body of the answer shows which.
- A signed URL cannot say which headers to answer with, so type and disposition are set when the bytes are put.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from longrun.blobs.contract import BlobNotFound, Blobs, Meter, Stored, checked, is_key, span
from longrun.errors import BlobsFull, BlobsUnavailable, SettingsError
from longrun.log import Log
from longrun.settings import LOOPBACK

#: The least that S3 takes as a part of an upload. A file up to this size is one request.
_PART = 5 * 1024 * 1024
#: Uploads at once in a process; each holds three parts at most, so all of them 240 MB.
_UPLOADS = 16
_UPLOAD_WAIT = 10.0
#: Keys that S3 takes in one request to delete.
_AT_ONCE = 1000
_PROBE = ".check"
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
#: obstore's own values go on for three minutes, while a caller waits. A part of 5 MB in 20 s is 2 Mbit/s.
_RETRY: Any = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=4),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}
_CLIENT: Any = {"connect_timeout": timedelta(seconds=2), "read_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=20)}
_FULL = ("XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "507 Insufficient Storage")
_GONE = ("NoSuchBucket", "bucket does not exist")
_DENIED = ("401 Unauthorized", "403 Forbidden")
#: No credentials are set, so the cloud's own host was asked for some.
_NO_CREDENTIALS = "/latest/api/token"

_log = Log(__name__, logging.getLogger(__name__))


class Bucket(Blobs):
    """Keeps bytes in a bucket, below a prefix; at the endpoint, in the region and with the credentials that the AWS_* variables name.

    Raises:
        SettingsError: the endpoint is plain HTTP, is not on this machine, and AWS_ALLOW_HTTP is not set.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix
        self._uploads = asyncio.Semaphore(_UPLOADS)
        endpoint = _endpoint()
        allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
        if endpoint.startswith("http://") and not allowed and urlsplit(endpoint).hostname not in LOOPBACK:
            raise SettingsError(f"the endpoint {endpoint} of LONGRUN_BLOBS is plain HTTP: use https://, or set AWS_ALLOW_HTTP=true")

    @cached_property
    def _store(self) -> Any:
        """Made at the first use, never before a fork."""
        endpoint = _endpoint()
        where: Any = {"endpoint": endpoint} if endpoint else {}
        client: Any = {**_CLIENT, "allow_http": endpoint.startswith("http://")}  # `__init__` has looked at it
        with _translated_errors():
            return S3Store(self._bucket, prefix=self._prefix or None, client_options=client, retry_config=_RETRY, **where)

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, limit: int, content_type: str = "", filename: str = "") -> Stored:
        meter, options = Meter(limit), _options(content_type, filename)
        checked(key)
        try:
            await asyncio.wait_for(self._uploads.acquire(), _UPLOAD_WAIT)
        except TimeoutError:
            raise BlobsUnavailable("Too many uploads at once.", retry_after=5) from None
        try:
            head = []
            async for chunk in chunks:
                head.append(meter.pass_on(bytes(chunk)))
                if meter.size > _PART:
                    break
            if meter.size > _PART:
                await _Feed(head, chunks, meter).into(self._store, key, options)
            else:
                with _translated_errors():
                    await self._store.put_async(key, b"".join(head), use_multipart=False, **options)
        finally:
            self._uploads.release()
        return meter.stored(key)

    def put_blocking(self, key: str, chunks: Iterable[bytes], *, limit: int, content_type: str = "", filename: str = "") -> Stored:
        meter, raised, options = Meter(limit), list[Exception](), _options(content_type, filename)
        checked(key)
        metered, head = _metered(chunks, meter, raised), []
        for chunk in metered:
            head.append(chunk)
            if meter.size > _PART:
                break
        try:
            with _translated_errors():
                if meter.size > _PART:
                    self._store.put(key, _chain(head, metered), **options)
                else:
                    self._store.put(key, b"".join(head), use_multipart=False, **options)
        except (BlobsUnavailable, BlobsFull) as error:
            if raised:  # an OSError of `chunks` is not the bucket's
                raise raised[0] from None
            if not (_is_over(error) and self._has(key, meter.size)):  # as in `_Feed`
                raise
        return meter.stored(key)

    def _has(self, key: str, size: int) -> bool:
        with contextlib.suppress(BaseError, OSError):
            return int(self._store.head(key)["size"]) == size
        return False

    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        size = await self.head(key)
        if size is None:
            raise BlobNotFound(key)
        return self._pieces(key, *span(size, start, end))

    async def _pieces(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        # One request for each piece: none lives longer than a slow reader, and each is tried again for itself.
        while start < stop:
            with _translated_errors(missing=key):
                data = bytes(await self._store.get_range_async(key, start=start, end=min(start + _PART, stop)))
            yield data
            start += len(data)

    def get_blocking(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        with _translated_errors(missing=checked(key)):
            try:
                size = int(self._store.head(key)["size"])
            except FileNotFoundError:
                size = int(self._store.get(key).meta["size"])  # as in `_size`
        start, stop = span(size, start, end)
        while start < stop:
            with _translated_errors(missing=key):
                data = bytes(self._store.get_range(key, start=start, end=min(start + _PART, stop)))
            yield data
            start += len(data)

    async def head(self, key: str) -> int | None:
        try:
            return await self._size(checked(key))
        except BlobNotFound:
            return None

    async def _size(self, key: str) -> int:
        with _translated_errors(missing=key):
            try:
                return int((await self._store.head_async(key))["size"])
            except FileNotFoundError:
                # The answer to HEAD has no body; this one says whether it is the key or the bucket that is missing.
                return int((await self._store.get_async(key)).meta["size"])

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            checked(key)
        for at in range(0, len(keys), _AT_ONCE):
            with contextlib.suppress(BlobNotFound), _translated_errors(missing=keys[at]):
                await self._store.delete_async(list(keys[at : at + _AT_ONCE]))

    async def keys(self, prefix: str = "", *, older_than: float = 0) -> list[str]:
        now = await self._now()
        found = []
        with _translated_errors():
            # obstore lists whole path segments only, so the last, begun one is compared here.
            async for page in self._store.list(prefix.rpartition("/")[0] or None):
                found += [m["path"] for m in page if (now - m["last_modified"]).total_seconds() >= older_than]
        return sorted(key for key in found if key.startswith(prefix) and is_key(key))

    async def clear_unfinished(self, older_than: float) -> int:
        return 0

    def path(self, key: str) -> Path | None:
        checked(key)
        return None

    async def url(self, key: str, *, expires: float) -> str | None:
        checked(key)
        with _translated_errors():
            return str(await obstore.sign_async(self._store, "GET", key, timedelta(seconds=expires)))

    async def check(self) -> None:
        with _translated_errors():
            await self._store.put_async(_PROBE, b"longrun", use_multipart=False)

    async def _now(self) -> datetime:
        """The bucket's own time: that of a probe just written. Ages by our clock would be wrong by the difference of the two."""
        try:
            await self.check()
        except BlobsFull:
            return datetime.now(UTC)  # a sweep has to be able to make room
        with _translated_errors():
            written: datetime = (await self._store.head_async(_PROBE))["last_modified"]
            return written


def _options(content_type: str, filename: str) -> dict[str, Any]:
    """How obstore is to upload: a part after the other, and what the bucket answers with the bytes."""
    name = f"; filename*=UTF-8''{quote(filename, safe='')}" if filename else ""  # RFC 8187
    headers = {"Content-Type": content_type or "application/octet-stream", "Content-Disposition": f"attachment{name}"}
    return {"attributes": headers, "chunk_size": _PART, "max_concurrency": 1}


def _endpoint() -> str:
    return next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")


class _Stop(Exception):
    """The upload was canceled."""


class _Feed:
    """Hands chunks to an upload that runs in a task of its own, so that a cancellation here can end it with an error there."""

    def __init__(self, head: list[bytes], chunks: AsyncIterator[bytes], meter: Meter) -> None:
        self._head, self._chunks, self._meter = head, chunks, meter
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(1)
        self._raised: Exception | None = None

    async def into(self, store: Any, key: str, options: dict[str, Any]) -> None:
        upload = asyncio.ensure_future(store.put_async(key, self._taken(), **options))
        pump = asyncio.create_task(self._pump())
        try:
            await asyncio.wait({upload, pump}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({upload})
        except asyncio.CancelledError:
            pump.cancel()
            await self._give_up(upload)
            raise
        finally:
            pump.cancel()
            await asyncio.wait({pump})
        if self._raised is not None:
            upload.exception()
            raise self._raised
        try:
            with _translated_errors():
                upload.result()
        except BlobsUnavailable as error:
            if not (_is_over(error) and await self._is_there(store, key)):
                raise

    async def _is_there(self, store: Any, key: str) -> bool:
        """Whether all of it is stored. The order to put the parts together was repeated when its answer took long, and had been done."""
        with contextlib.suppress(BaseError, OSError):
            return int((await store.head_async(key))["size"]) == self._meter.size
        return False

    async def _pump(self) -> None:
        try:
            async for chunk in self._chunks:
                await self._queue.put(self._meter.pass_on(bytes(chunk)))
        except Exception as error:
            self._raised = error
            await self._queue.put(error)
        else:
            await self._queue.put(None)

    async def _taken(self) -> AsyncIterator[bytes]:
        while self._head:
            yield self._head.pop(0)
        while (item := await self._queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    async def _give_up(self, upload: asyncio.Future[Any]) -> None:
        """Let the upload abort what it has sent; it ends within the time limits of a request."""
        while not upload.done():
            with contextlib.suppress(asyncio.QueueFull):
                self._queue.put_nowait(_Stop())
            await asyncio.wait({upload}, timeout=0.05)
        if not upload.cancelled():
            upload.exception()


def _metered(chunks: Iterable[bytes], meter: Meter, raised: list[Exception]) -> Iterator[bytes]:
    try:
        for chunk in chunks:
            yield meter.pass_on(bytes(chunk))
    except Exception as error:
        raised.append(error)
        raise


def _chain(head: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    while head:
        yield head.pop(0)
    yield from rest


def _is_over(error: BlobsUnavailable | BlobsFull) -> bool:
    """Whether the bucket said that the upload had ended, one way or the other. Keys are fresh: what is there is what was sent."""
    return "NoSuchUpload" in str(error.__cause__)


@contextlib.contextmanager
def _translated_errors(missing: str | None = None) -> Iterator[None]:
    """An error of obstore as the problem it is; `missing` names the key whose absence is no failure. Addresses stay in the log.

    Raises:
        BlobNotFound, BlobsFull, BlobsUnavailable
    """
    try:
        yield
    except FileNotFoundError as error:
        if missing is None or any(word in str(error) for word in _GONE):
            _log.warning(f"the bucket of files: {_first_lines(error)}")
            raise BlobsUnavailable("The bucket of files does not exist.", retry_after=30) from error
        raise BlobNotFound(missing) from None
    except (BaseError, OSError) as error:
        raise _problem(error) from error


def _problem(error: Exception) -> BlobsFull | BlobsUnavailable:
    text = str(error)
    _log.warning(f"the bucket of files: {_first_lines(error)}")
    if any(word in text for word in _FULL):
        return BlobsFull("The bucket of files has no room.")
    if _NO_CREDENTIALS in text:
        return BlobsUnavailable(
            "There are no credentials for the bucket of files (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).", retry_after=30
        )
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or any(word in text for word in _DENIED):
        return BlobsUnavailable("The bucket of files refuses our credentials.", retry_after=30)
    if any(word in text for word in _GONE):
        return BlobsUnavailable("The bucket of files does not exist.", retry_after=30)
    return BlobsUnavailable("The bucket of files does not answer.", retry_after=5)


def _first_lines(error: Exception) -> str:
    """What obstore says, without the dump of its own objects that follows."""
    return str(error).partition("\n\nDebug source")[0]
