"""The list of chores and the ticker that runs them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from longrun.blobs.contract import Blobs
from longrun.chores.blob_removal import CLEAR_EVERY_S, FileChores
from longrun.chores.loss_watch import EVERY_S, LossWatch
from longrun.chores.mark_file import MarkFile
from longrun.errors import BlobsFull, BlobsUnavailable, LongrunError
from longrun.log import Log
from longrun.service.batch_feed import cancel_items, feed
from longrun.settings import Settings
from longrun.store.store import Store

log = Log("longrun.chores")

#: A ticket popped this long ago and not claimed since is pushed again.
DOUBT_AFTER_S = 10.0
#: A job is overtaken when one of its lane and priority that was pushed this much later has been claimed.
OVERTAKEN_AFTER_S = 10.0
#: A lane with waiting jobs and no tickets is looked at twice, this far apart, before tickets are pushed again.
SECOND_LOOK_S = 5.0
_MOST = 100
#: Seconds that one round goes on with a batch.
_BATCH_S = 10.0
#: Shortest and longest pause after a chore that failed.
_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0


async def run_chores(store: Store, settings: Settings, blobs: Blobs) -> None:
    """Run all chores until canceled."""
    lanes, files = LaneLook(store), FileChores(store, blobs)
    await asyncio.gather(
        every(min(1.0, settings.lease / 5), "sweep", lambda: _sweep(store)),
        every(EVERY_S, "loss_watch", LossWatch(store.losses, MarkFile.beside(settings.data, store.url)).look),
        every(0.2, "release_due", lambda: _until_done(store.upkeep.release_due)),
        every(2.0, "republish", lambda: _until_done(lambda: store.upkeep.republish(DOUBT_AFTER_S))),
        every(SECOND_LOOK_S, "refill", lanes.look),
        every(2.0, "expire", lambda: _until_done(store.upkeep.expire)),
        every(2.0, "bury", lambda: _until_none(store.upkeep.bury)),
        every(0.5, "reap", lambda: _until_none(store.steps.reap)),
        every(1.0, "batches", lambda: go_on_with_batches(store, blobs)),
        every(2.0, "expire_files", lambda: _until_done(store.files.expire)),
        every(2.0, "trash", files.empty_trash),
        every(CLEAR_EVERY_S, "clear_unfinished", files.clear_unfinished),
        every(10.0, "sweep_files", files.sweep),
    )


async def every(seconds: float, name: str, chore: Callable[[], Awaitable[None]]) -> None:
    """Run a chore again and again, with jitter so that processes do not march in step. Whatever it raises, it is tried again.

    A store that is away is tried again as soon as ever; a blob store, or a defect, after longer and longer pauses, which is logged once.
    """
    pause = 0.0
    while True:
        await asyncio.sleep(max(seconds, pause) * random.uniform(0.8, 1.2))
        try:
            await chore()
        except Exception as error:
            expected = isinstance(error, LongrunError)
            if expected and not isinstance(error, BlobsUnavailable | BlobsFull):
                log.warning("chore did not run", chore=name, error=str(error))
                continue
            before, pause = pause, min(max(_PAUSE_S, 2 * pause), _LONGEST_PAUSE_S)
            if not before:
                log.warning("chore failed, it is tried again", chore=name, error=str(error), exc_info=not expected)
        else:
            if pause:
                log.info("chore goes on", chore=name)
            pause = 0.0


async def _until_done(piece: Callable[[], Awaitable[int]]) -> None:
    """Repeat a chore that moves at most a hundred jobs until it has nothing left; other work gets its turn in between."""
    looked_at = _MOST
    while looked_at >= _MOST:
        looked_at = await piece()


async def _until_none(piece: Callable[[], Awaitable[int]]) -> None:
    """Repeat a chore that looks at one tree a call, of whatever size, until it has nothing left."""
    while await piece():
        pass


async def go_on_with_batches(store: Store, blobs: Blobs) -> None:
    """Make jobs of the items of batches that nobody else is feeding, and cancel those of batches that are to stop."""
    await asyncio.gather(*[_go_on(store, blobs, batch_id) for batch_id in await store.batches.due()])


async def _go_on(store: Store, blobs: Blobs, batch_id: str) -> None:
    await cancel_items(store, batch_id, _BATCH_S)
    try:
        await feed(store, blobs, batch_id, _BATCH_S)
    except (BlobsUnavailable, BlobsFull) as error:
        log.warning("a batch waits for the blob store", batch_id=batch_id, error=str(error))


async def _sweep(store: Store) -> None:
    while moved := await store.upkeep.sweep():
        log.warning("leases ran out", jobs=dict(list(moved.items())[:20]), count=len(moved))
        if len(moved) < _MOST:
            return


class LaneLook:
    """Finds lost tickets by evidence: a lane's jobs wait and it has no ticket at all, on two looks in a row; or a job was overtaken.

    What merely waits is no evidence, so a long backlog costs nothing.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._suspicious: set[str] = set()

    async def look(self) -> None:
        """One look at all lanes."""
        seen: set[str] = set()
        for depth in await self._store.records.depths():
            lane = f"{depth.queue}.{depth.model}"
            priorities = [priority for priority, jobs in depth.by_priority.items() if jobs]
            if not priorities:
                continue
            overtaken = await self._store.upkeep.overtaken(lane, OVERTAKEN_AFTER_S, priorities)
            waiting, tickets, pushed = await self._store.upkeep.refill(lane, push=lane in self._suspicious)
            if waiting and not tickets and not pushed:
                seen.add(lane)
            if pushed or overtaken:
                log.warning("lost tickets pushed again", lane=lane, tickets=pushed + overtaken)
        self._suspicious = seen
