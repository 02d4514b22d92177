"""What becomes of stored bytes: those in the trash go, then what killed uploads left, then whatever no record names.

Every process does this. Nothing is lost when one stops in the middle: a key stays in the trash until its bytes are removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from longrun.blobs.contract import Blobs, is_key
from longrun.blobs.sweep import Swept, sweep
from longrun.errors import LongrunError
from longrun.log import Log
from longrun.store.file_records import MOST
from longrun.store.server_facts import read_about
from longrun.store.store import Store

log = Log("longrun.chores")

#: How long bytes stay after their last use has ended. A failover or a power cut may make the store forget that end: a batch is then fed
#: once more from its inputs, and a job that is there again has its files.
TRASH_AFTER_S = 15.0
#: What was not written to for so long belongs to an upload that was killed. A round later, with its jitter, a minute has not passed yet.
UNFINISHED_AFTER_S = 45.0
CLEAR_EVERY_S = 12.0
#: One process of all sweeps, once in this time, or in 50 times what the last sweep took: a list of a million keys costs 2 % of one's time.
SWEEP_EVERY_S = 30.0
_SHARE = 50
#: Seconds between two words of a sweep that it goes on.
_HOLD_S = 10.0
#: Names the store whose files these are: what another store knows nothing of is no orphan.
OWNER = "longrun-store"


class FileChores:
    """The rounds that need the blob store.

    Args:
        store: says what may go.
        blobs: the blob store.
        sweep_every: shortest time between two sweeps of all processes.
        trash_after: seconds that bytes stay in the trash.
    """

    def __init__(self, store: Store, blobs: Blobs, *, sweep_every: float = SWEEP_EVERY_S, trash_after: float = TRASH_AFTER_S) -> None:
        self._store, self._files, self._blobs, self._sweep_every = store, store.files, blobs, sweep_every
        self._trash_after = trash_after
        self._foreign = False

    async def empty_trash(self) -> None:
        """Remove the bytes of all that has lain in the trash for long enough, a hundred at a time."""
        while keys := await self._files.trash(self._trash_after):
            await self._blobs.delete([key for key in keys if is_key(key)])
            await self._files.trashed(keys)
            if len(keys) < MOST:
                return

    async def clear_unfinished(self) -> None:
        """Remove what killed uploads have left."""
        if removed := await self._blobs.clear_unfinished(UNFINISHED_AFTER_S):
            log.info("uploads that were killed are cleared", count=removed)

    async def sweep(self) -> None:
        """Remove what no record names, if it is this process's turn."""
        if not await self._files.sweep_turn(self._sweep_every):
            return
        holding = asyncio.create_task(self._hold())
        try:
            swept = await self._swept()
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)
        await self._files.hold_turn(max(self._sweep_every, _SHARE * swept.busy))
        if swept.removed:
            log.info("files that no record names are removed", count=swept.removed)

    async def _swept(self) -> Swept:
        if not await self._is_ours():
            return Swept(0, 0.0)
        return await sweep(self._blobs, self._needed)

    async def _needed(self, keys: Sequence[str]) -> set[str]:
        return await self._files.needed(keys) | {OWNER}

    async def _is_ours(self) -> bool:
        """Whether the blob store is that of this store. To another one, or an empty one in its place, all files would look like orphans."""
        about = await read_about(self._store, timeout=5)
        if about is None or not about.id:
            return False
        if await self._blobs.head(OWNER) is None:
            await self._blobs.put_bytes(OWNER, about.id.encode(), content_type="text/plain")
        owner = (await self._blobs.read(OWNER, 1000)).decode("ascii", "replace")
        before, self._foreign = self._foreign, owner != about.id
        if self._foreign and not before:
            log.error("the blob store belongs to another store: it is not swept", owner=owner, store=about.id, mend=f"remove {OWNER}")
        return not self._foreign

    async def _hold(self) -> None:
        """Keep the others from beginning a sweep while a long one goes on."""
        while True:
            await asyncio.sleep(_HOLD_S)
            with suppress(LongrunError):
                await self._files.hold_turn(self._sweep_every)
