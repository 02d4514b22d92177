"""Records of files whose bytes are stored. Apart from `uploads`, because workers do this too and are to import no client for URLs."""

from __future__ import annotations

import time

from longrun.blobs.contract import Blobs
from longrun.blobs.sweep import SECOND_LOOK
from longrun.errors import BlobsUnavailable
from longrun.jobs.file_refs import FileRef
from longrun.store.file_records import FileRecord
from longrun.store.store import Store

#: Seconds from the last byte to the record. A sweep looks twice, and may take an upload to a bucket for old when it has just ended.
_RECORDED_WITHIN = SECOND_LOOK - 1


async def record_file(store: Store, tenant: str, ref: FileRef, *, keep: float | None, since: float) -> FileRecord:
    """Make the record of a file whose bytes were stored at `since` (monotonic).

    Raises:
        BlobsUnavailable: that was so long ago that they may have been swept as nobody's: this process stood still.
        StorageFull, StoreUnavailable
    """
    record = await store.files.add(tenant, ref, keep=keep)
    if time.monotonic() - since > _RECORDED_WITHIN:
        await (store.files.discard([ref.id], tenant) if keep is None else store.files.delete(ref.id, tenant))
        raise BlobsUnavailable("The file could not be recorded in time. Nothing was stored; send it again.", retry_after=1)
    return record


async def store_input(store: Store, blobs: Blobs, tenant: str, data: bytes, file_id: str) -> FileRef:
    """Store an input that is too large for the store as a file with this id, which lives with the jobs that come to need it."""
    stored = await blobs.put_bytes(file_id, data, content_type="application/json", filename="input.json")
    since = time.monotonic()
    ref = FileRef(file_id, file_id, stored.size, stored.digest, "application/json", "input.json")
    await record_file(store, tenant, ref, keep=None, since=since)
    return ref
