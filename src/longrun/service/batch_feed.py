"""From the inputs of an accepted batch to jobs, a hundred at a time. Any process may do this, several at once, and stop in the middle.

The store knows how far it has come and makes each item once, under an id that follows from the batch and the item's place.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import orjson

from longrun.blobs.contract import BlobNotFound, Blobs
from longrun.clock import FILE_PREFIX, item_id
from longrun.errors import BatchGone, BatchNotFound
from longrun.jobs.file_refs import INLINE, reference
from longrun.log import Log
from longrun.service.file_records import store_input
from longrun.store.batches import MOST, Feeding, Line
from longrun.store.store import Store

log = Log("longrun.service")

#: Bytes of inputs, and files of theirs, after which a piece is large enough.
_PIECE, _FILES = 512 * 1024, 100


async def feed(store: Store, blobs: Blobs, batch_id: str, seconds: float) -> None:
    """Make jobs of the next items, for up to `seconds`, until there are no more, the lane is full, or another feeder is at it.

    Raises:
        StoreUnavailable, StorageFull, BlobsUnavailable, BlobsFull: it can be gone on with later.
    """
    until = time.monotonic() + seconds
    try:
        at = await store.batches.feeding(batch_id)
        if at.open:
            await _feed(store, blobs, batch_id, at, until)
    except (BatchNotFound, BatchGone):
        return
    except BlobNotFound:
        # Fed, or canceled, by somebody else since we have looked; otherwise the blob store has lost what it was given.
        if (await store.batches.feeding(batch_id)).open:
            log.error("the inputs of a batch are not there", batch_id=batch_id, mend="restore the blob store, or cancel the batch")


async def _feed(store: Store, blobs: Blobs, batch_id: str, at: Feeding, until: float) -> None:
    fed = at.fed
    async with aclosing(_pieces(await blobs.get(at.key, start=at.offset))) as pieces:
        async for piece in pieces:
            lines = [await _line(store, blobs, at.tenant, batch_id, fed + i, data) for i, data in enumerate(piece)]
            reply = await store.batches.feed(batch_id, fed, lines)
            fed += len(lines)
            # A script that was sent twice finds that it has moved on: to where it was to come.
            if reply.outcome == "over" or reply.fed != fed or time.monotonic() > until:
                return


async def _line(store: Store, blobs: Blobs, tenant: str, batch_id: str, index: int, data: bytes) -> Line:  # noqa: PLR0917
    """What the store is given of a line of the file (see `batch_inputs`)."""
    value, _, files = data.rstrip(b"\n").partition(b"\t")
    if len(value) > INLINE:
        # Its id follows from the item's, so that a second feeder stores the same.
        ref = await store_input(store, blobs, tenant, value, FILE_PREFIX + item_id(batch_id, index)[4:])
        value, files = reference(ref), orjson.dumps(orjson.loads(files or b"{}") | {ref.id: ref.members()})
    return Line(value, files, len(data))


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Sequence[bytes]]:
    """Whole lines, their ends included, in pieces that one script takes."""
    held: list[bytes] = []
    size = files = 0
    async with aclosing(_lines(chunks)) as lines:
        async for line in lines:
            more = line.count(b'"digest":', line.find(b"\t")) if b"\t" in line else 0
            if held and (len(held) == MOST or size + len(line) > _PIECE or files + more > _FILES):
                yield held
                held, size, files = [], 0, 0
            held.append(line)
            size, files = size + len(line), files + more
    if held:
        yield held


async def _lines(chunks: Any) -> AsyncGenerator[bytes]:
    rest = b""
    async with aclosing(chunks):
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line + b"\n"


async def cancel_items(store: Store, batch_id: str, seconds: float) -> None:
    """Cancel the items of a batch that is to stop, for up to `seconds`. Raises StoreUnavailable."""
    until = time.monotonic() + seconds
    while await store.batches.cancel_items(batch_id):
        if time.monotonic() > until:
            return
