"""Files: taking them in, showing them, and who may read them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from longrun.blobs import signing
from longrun.clock import is_file_id, new_file_id, rfc3339
from longrun.errors import Forbidden, PayloadTooLarge, Problem, UnsupportedMedia, ValidationFailed
from longrun.jobs.files import FileRef
from longrun.media.facts import Facts
from longrun.media.names import safe_name
from longrun.media.rules import Broken, FileRule, judge
from longrun.media.scan import Scanner
from longrun.service.noting import noted
from longrun.service.parts import Parts
from longrun.store.files import FileRecord
from longrun.store.kinds import FILE

#: Bytes after which a file whose format is not known yet has none that we know.
_SNIFF = 4096
#: What a rule is about decides the status: how much, what kind, or what is in it.
_PROBLEMS: dict[str, type[Problem]] = {
    "max_bytes": PayloadTooLarge,
    "formats": UnsupportedMedia,
    "extension": UnsupportedMedia,
    "polyglot": UnsupportedMedia,
}


def refusal(broken: Broken, pointer: str) -> Problem:
    """The problem of a file that breaks a rule; `rule` and `limit` are members of it."""
    kind = _PROBLEMS.get(broken.rule, ValidationFailed)
    more = {} if broken.limit is None else {"limit": broken.limit}
    return kind(broken.detail, errors=[{"pointer": pointer, "detail": broken.detail}], rule=broken.rule, **more)


def narrowed(rule: FileRule | None, max_file: int) -> FileRule:
    """What the model allows, and never more than the operator does."""
    return FileRule(max_bytes=max_file) if rule is None else replace(rule, max_bytes=min(rule.max_bytes, max_file))


async def receive(
    parts: Parts,
    tenant: str,
    chunks: AsyncIterator[bytes],
    *,
    filename: str = "",
    keep: float | None = None,
    rule: FileRule | None = None,
    pointer: str = "",
) -> FileRecord:
    """Take a file in while it comes: it is judged as it passes, and nothing over a limit is written.

    Args:
        filename: what the caller calls it.
        keep: seconds; None: it came with a job, and goes with it.
        rule: what the model allows; None: whatever the operator does.
        pointer: of the place that it is for, which the problem names.

    Raises:
        PayloadTooLarge, UnsupportedMedia, ValidationFailed: it breaks a rule, which the problem names.
        BlobsFull, BlobsUnavailable: it cannot be stored.
        StorageFull, StoreUnavailable: it cannot be noted.
        Exception: whatever `chunks` raises.
    """
    name = safe_name(filename)
    rule = narrowed(rule, parts.settings.max_file)
    passing = _Passing(chunks, rule, filename, pointer)
    head = await passing.head()
    fresh = new_file_id()
    stored = await parts.blobs.put(fresh, passing.rest(head), limit=rule.max_bytes, content_type=passing.facts.media_type, filename=name)
    facts, since = passing.facts, time.monotonic()
    ref = FileRef(fresh, fresh, stored.size, stored.digest, facts.media_type, name, facts.to_json())
    return await noted(parts.store, tenant, ref, keep=keep, since=since)


class _Passing:
    """Bytes on their way to the keeper, looked at as they pass."""

    def __init__(self, chunks: AsyncIterator[bytes], rule: FileRule, filename: str, pointer: str) -> None:
        self._chunks, self._rule, self._filename, self._pointer = chunks, rule, filename, pointer
        self._scanner, self._size = Scanner(), 0
        self.facts = Facts()

    async def head(self) -> list[bytes]:
        """The first bytes, by which the type is known: the keeper wants it before it gets any."""
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


async def discard(parts: Parts, tenant: str, ids: Sequence[str]) -> None:
    """Remove files that came with a request which makes no job. What cannot be removed now goes within the hour."""
    if ids:
        with suppress(Problem):
            await parts.store.files.discard(ids, tenant)


async def from_bytes(data: bytes) -> AsyncIterator[bytes]:
    """Bytes that are here already, as `receive` takes them."""
    for at in range(0, len(data), 1 << 18):
        yield data[at : at + (1 << 18)]


def judge_record(parts: Parts, record: FileRecord, rules: Sequence[FileRule]) -> Broken | None:
    """The rule that a stored file breaks; None: it keeps to one of the sets of rules."""
    facts, ref = Facts.from_json(dict(record.ref.facts)), record.ref
    found = [judge(narrowed(rule, parts.settings.max_file), facts, ref.size, ref.name, final=True) for rule in rules]
    return None if None in found else next(iter(found), None)


async def get(parts: Parts, tenant: str, file_id: str) -> FileRecord:
    """A file.

    Raises:
        FileNotFound: unknown, or another tenant's.
        FileGone: deleted or expired.
    """
    return await parts.store.files.read(_known_form(file_id), tenant)


async def delete(parts: Parts, tenant: str, file_id: str) -> None:
    """Hide a file at once; its bytes go with the last job that needs them. Raises FileNotFound, FileGone."""
    await parts.store.files.delete(_known_form(file_id), tenant)


async def readable(parts: Parts, tenant: str, file_id: str, query: Mapping[str, str], method: str) -> FileRecord:
    """A file whose bytes may be read: by its tenant, or by whoever holds a signed URL.

    Args:
        tenant: who asks; empty: nobody that is known.

    Raises:
        Forbidden: the signature is wrong or has expired.
        FileNotFound, FileGone
    """
    if "sig" not in query and not tenant:
        raise Forbidden("This URL needs its signature, or a key of this service.")
    if "sig" not in query:
        return await get(parts, tenant, file_id)
    secret = await parts.urls.know()
    owner, record = await parts.store.files.owned(file_id) if is_file_id(file_id) else ("", None)
    # Said first, and after the same work for every id: who has no right to read does not learn what exists, or has existed.
    signing.verify([secret], query, method=method, tenant=owner, file=file_id)
    if record is None:
        raise FILE.expired(file_id)
    return record


def _known_form(file_id: str) -> str:
    if not is_file_id(file_id):
        raise FILE.not_found(file_id)
    return file_id


async def file_view(parts: Parts, record: FileRecord, base: str) -> dict[str, Any]:
    """The JSON body of a file."""
    ref = record.ref
    facts = {name: ref.facts.get(name) for name in ("format", "width", "height", "frames")}
    return {
        "id": ref.id,
        "name": ref.name,
        "content_type": ref.content_type,
        "size": ref.size,
        "digest": ref.digest,
        **facts,
        "created_at": rfc3339(record.created),
        "expires_at": rfc3339(record.expires),
        "url": await parts.urls.url(record.tenant, ref.id, base),
    }
