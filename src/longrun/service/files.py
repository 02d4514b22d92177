"""Stored files: showing them, judging them, and who may read them. `uploads` stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from longrun import wire
from longrun.blobs import signing
from longrun.clock import is_file_id, rfc3339
from longrun.errors import Forbidden
from longrun.media.facts import Facts
from longrun.media.rules import Broken, FileRule, judge
from longrun.service.caller import Caller
from longrun.service.uploads import narrowed
from longrun.store.file_records import FileRecord
from longrun.store.kinds import FILE


def judge_record(caller: Caller, record: FileRecord, rules: Sequence[FileRule]) -> Broken | None:
    """The rule that a stored file breaks; None: it keeps to one of the sets of rules."""
    facts, ref = Facts.from_json(dict(record.ref.facts)), record.ref
    found = [judge(narrowed(rule, caller.settings.max_file), facts, ref.size, ref.name, final=True) for rule in rules]
    return None if None in found else next(iter(found), None)


async def get(caller: Caller, file_id: str) -> FileRecord:
    """A file.

    Raises:
        FileNotFound: unknown, or another tenant's.
        FileGone: deleted or expired.
    """
    return await caller.store.files.read(_known_form(file_id), caller.tenant)


async def delete(caller: Caller, file_id: str) -> None:
    """Hide a file at once; its bytes go with the last job that needs them. Raises FileNotFound, FileGone."""
    await caller.store.files.delete(_known_form(file_id), caller.tenant)


async def readable(caller: Caller, file_id: str, query: Mapping[str, str]) -> FileRecord:
    """A file whose bytes may be read: by its tenant, or by whoever holds a signed URL.

    Args:
        tenant: who asks; empty: nobody that is known.

    Raises:
        Forbidden: the signature is wrong or has expired.
        FileNotFound, FileGone
    """
    if "sig" not in query and not caller.tenant:
        raise Forbidden("This URL needs its signature, or a key of this service.")
    if "sig" not in query:
        return await get(caller, file_id)
    secret = await caller.urls.know()
    owner, record = await caller.store.files.owned(file_id) if is_file_id(file_id) else ("", None)
    # Said first, and after the same work for every id: who has no right to read does not learn what exists, or has existed.
    signing.verify(secret, query, tenant=owner, file=file_id)
    if record is None:
        raise FILE.expired(file_id)
    return record


def _known_form(file_id: str) -> str:
    if not is_file_id(file_id):
        raise FILE.not_found(file_id)
    return file_id


async def file_view(caller: Caller, record: FileRecord) -> wire.File:
    """A file as callers see it."""
    ref = record.ref
    return wire.File(
        id=ref.id, name=ref.name, content_type=ref.content_type, size=ref.size, digest=ref.digest,
        **{name: ref.facts.get(name) for name in ("format", "width", "height", "frames")},
        created_at=rfc3339(record.created), expires_at=rfc3339(record.expires),
        url=await caller.urls.url(record.tenant, ref.id, caller.base),
    )  # fmt: skip
