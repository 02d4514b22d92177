"""Removes files that no record names: uploads whose submit never came, outputs of attempts that lost, removals that were cut short."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
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


def orphans(old: Sequence[str], referenced: Collection[str]) -> list[str]:
    """Of the keys that are old enough, those that no record names."""
    named = frozenset(referenced)
    return [key for key in old if key not in named]


async def sweep(blobs: Blobs, is_referenced: IsReferenced, *, older_than: float = ORPHAN_AFTER, second_look: float = SECOND_LOOK) -> Swept:
    """Remove what no record has named on two looks.

    Args:
        is_referenced: given up to 100 keys, those of them that a record names. When it raises, nothing more is removed.
        older_than: seconds since the last write, by the blob store's own clock.
        second_look: seconds between the looks.
    """
    begun = time.monotonic()
    suspects: list[str] = []
    for batch in _batches(await blobs.keys(older_than=older_than)):
        suspects += orphans(batch, await is_referenced(batch))
    if not suspects:
        return Swept(0, time.monotonic() - begun)
    busy = time.monotonic() - begun
    await asyncio.sleep(second_look)
    begun = time.monotonic()
    removed = 0
    for batch in _batches(suspects):
        gone = orphans(batch, await is_referenced(batch))
        if gone:
            await blobs.delete(gone)
        removed += len(gone)
    return Swept(removed, busy + time.monotonic() - begun)


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(keys), _BATCH):
        yield keys[at : at + _BATCH]
