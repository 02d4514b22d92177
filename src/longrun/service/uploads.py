"""What is stored for a request until its job is accepted: files that come with it, and an input that is too large for the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from longrun.clock import new_file_id
from longrun.errors import PayloadTooLarge, Problem, StorageFull, StoreUnavailable, UnsupportedMedia, ValidationFailed
from longrun.jobs.file_refs import FileRef
from longrun.media.facts import Facts
from longrun.media.names import safe_name
from longrun.media.rules import Broken, FileRule, judge
from longrun.media.scan import Scanner
from longrun.service.caller import Caller
from longrun.service.file_records import record_file, store_input
from longrun.store.file_records import FileRecord

#: Bytes after which a file whose format is not known yet has none that we know.
_SNIFF = 4096
#: What a rule is about decides the status: how much, what kind, or what is in it.
_PROBLEMS: dict[str, type[Problem]] = {
    "max_bytes": PayloadTooLarge,
    "formats": UnsupportedMedia,
    "extension": UnsupportedMedia,
    "polyglot": UnsupportedMedia,
}


class Uploads:
    """Owns the files of one request. `async with` removes them again however it is left, unless `release` was called before.

    Args:
        caller: who sends them.
        keep: seconds that each of them lives; None: they come with a job, and go with it.

    Attributes:
        records: those that were received so far, by id.
    """

    def __init__(self, caller: Caller, *, keep: float | None = None) -> None:
        self.caller, self._keep = caller, keep
        self.records: dict[str, FileRecord] = {}
        self._owned: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # A store that is away would only be waited for once more: what it holds goes within the hour, as does what cannot be removed now.
        is_away = isinstance(error, StoreUnavailable) and not isinstance(error, StorageFull)
        if self._owned and not is_away:
            await asyncio.shield(self._remove())  # a second cancellation must not come between two calls

    def new_id(self) -> str:
        """An id for a file that is about to be stored. It is owned from now on."""
        self._owned.append(new_file_id())
        return self._owned[-1]

    def release(self) -> None:
        """The job is accepted, or the caller learns the ids: the files stay."""
        self._owned.clear()

    async def receive(
        self, chunks: AsyncIterator[bytes], *, filename: str = "", rule: FileRule | None = None, pointer: str = ""
    ) -> FileRecord:
        """Store a file while it comes: it is judged as it passes, and nothing over a limit is written.

        Args:
            filename: what the caller calls it.
            rule: what the model allows; None: whatever the operator does.
            pointer: of the place that it is for, which the problem names.

        Raises:
            PayloadTooLarge, UnsupportedMedia, ValidationFailed: it breaks a rule, which the problem names.
            BlobsFull, BlobsUnavailable: it cannot be stored.
            StorageFull, StoreUnavailable: it cannot be recorded.
            Exception: whatever `chunks` raises.
        """
        name, rule = safe_name(filename), narrowed(rule, self.caller.settings.max_file)
        judged = _Judged(chunks, rule, name, pointer)
        head = await judged.head()
        fresh, media_type = self.new_id(), judged.facts.media_type
        stored = await self.caller.blobs.put(fresh, judged.rest(head), limit=rule.max_bytes, content_type=media_type, filename=name)
        facts, since = judged.facts, time.monotonic()
        ref = FileRef(fresh, fresh, stored.size, stored.digest, facts.media_type, name, facts.to_json())
        record = await record_file(self.caller.store, self.caller.tenant, ref, keep=self._keep, since=since)
        self.records[fresh] = record
        return record

    async def store_input(self, data: bytes) -> FileRef:
        """Store an input that is too large for the store. Raises BlobsFull, BlobsUnavailable, StorageFull, StoreUnavailable."""
        return await store_input(self.caller.store, self.caller.blobs, self.caller.tenant, data, self.new_id())

    async def _remove(self) -> None:
        files, owned = self.caller.store.files, list(self._owned)
        if self._keep is None:
            with suppress(Problem):
                await files.discard(owned, self.caller.tenant)
            return
        for file_id in owned:
            with suppress(Problem):
                await files.delete(file_id, self.caller.tenant)


class _Judged:
    """Bytes on their way to the blob store, judged as they pass."""

    def __init__(self, chunks: AsyncIterator[bytes], rule: FileRule, filename: str, pointer: str) -> None:
        self._chunks, self._rule, self._filename, self._pointer = chunks, rule, filename, pointer
        self._scanner, self._size = Scanner(), 0
        self.facts = Facts()

    async def head(self) -> list[bytes]:
        """The first bytes, by which the type is known: the blob store wants it before it gets any."""
        held: list[bytes] = []
        async for chunk in self._chunks:
            held.append(self._look(chunk))
            if self.facts.format or self._size >= _SNIFF:
                break
        return held

    async def rest(self, head: list[bytes]) -> AsyncIterator[bytes]:
        """All bytes. Raises the problem of the first rule that is broken, also at the end."""
        for chunk in head:
            yield chunk
        async for chunk in self._chunks:
            yield self._look(chunk)
        self.facts = self._scanner.close()
        self._judge(final=True)

    def _look(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        self.facts = self._scanner.feed(chunk)
        self._judge(final=False)
        return chunk

    def _judge(self, *, final: bool) -> None:
        broken = judge(self._rule, self.facts, self._size, self._filename, final=final)
        if broken is not None:
            raise refusal(broken, self._pointer)


def refusal(broken: Broken, pointer: str) -> Problem:
    """The problem of a file that breaks a rule; `rule` and `limit` are members of it."""
    kind = _PROBLEMS.get(broken.rule, ValidationFailed)
    more = {} if broken.limit is None else {"limit": broken.limit}
    return kind(broken.detail, errors=[{"pointer": pointer, "detail": broken.detail}], rule=broken.rule, **more)


def narrowed(rule: FileRule | None, max_file: int) -> FileRule:
    """What the model allows, and never more than the operator does."""
    return FileRule(max_bytes=max_file) if rule is None else replace(rule, max_bytes=min(rule.max_bytes, max_file))


async def from_bytes(data: bytes) -> AsyncIterator[bytes]:
    """Bytes that are here already, as `Uploads.receive` takes them."""
    for at in range(0, len(data), 1 << 18):
        yield data[at : at + (1 << 18)]
