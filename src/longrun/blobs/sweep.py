"""Removes files that no record names: uploads whose submit never came, outputs of attempts that lost, removals that were cut short."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from longrun.blobs.contract import Blobs

#: Seconds from the last write of a file to the moment it must have been named by a record.
ORPHAN_AFTER = 60.0
#: Seconds between the two looks at an orphan. A bucket dates a large upload by its beginning: it appears old, and its record comes then.
SECOND_LOOK = 5.0
_BATCH = 100

IsReferenced = Callable[[Sequence[str]], Awaitable[Collection[str]]]


@dataclass(frozen=True, slots=True)
class Swept:
    """How many files a sweep has removed, and seconds of work; without the wait for the second look."""

    removed: int
    busy: float


async def sweep(blobs: Blobs, is_referenced: IsReferenced, *, older_than: float = ORPHAN_AFTER, second_look: float = SECOND_LOOK) -> Swept:
    """Remove what no record has named on two looks.

    Args:
        is_referenced: given up to 100 keys, those of them that a record names. When it raises, nothing more is removed.
        older_than: seconds since the last write, by the blob store's own clock.
        second_look: seconds between the looks.
    """
    begun = time.monotonic()
    suspects = [key async for orphans in _orphans(await blobs.keys(older_than=older_than), is_referenced) for key in orphans]
    busy = time.monotonic() - begun
    if not suspects:
        return Swept(0, busy)
    await asyncio.sleep(second_look)
    begun = time.monotonic()
    removed = 0
    async for orphans in _orphans(suspects, is_referenced):
        if orphans:
            await blobs.delete(orphans)
        removed += len(orphans)
    return Swept(removed, busy + time.monotonic() - begun)


async def _orphans(keys: Sequence[str], is_referenced: IsReferenced) -> AsyncIterator[Sequence[str]]:
    """Of each hundred keys those that no record names."""
    for at in range(0, len(keys), _BATCH):
        piece = keys[at : at + _BATCH]
        named = frozenset(await is_referenced(piece))
        yield [key for key in piece if key not in named]
