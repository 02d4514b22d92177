"""What the blob store of a cluster holds, and the chores that clear it, without their pauses."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.caller import Caller
from tests.chaos.cluster import PREFIX, Cluster

from longrun.blobs.folder import Folder
from longrun.blobs.sweep import sweep
from longrun.chores.blob_removal import OWNER
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store


def root(cluster: Cluster) -> Path:
    """Where the bytes are; made by the first put."""
    (found,) = cluster.folder.glob("**/blobs")
    return found


def held(cluster: Cluster) -> list[str]:
    """Names of all files below the folder, half-written ones too, but for the owner's mark."""
    folders = list(cluster.folder.glob("**/blobs"))
    return sorted(file.name for folder in folders for file in folder.rglob("*") if file.is_file() and file.name != OWNER)


def stored(cluster: Cluster) -> set[str]:
    """Keys of the bytes that are there whole."""
    return set(asyncio.run(Folder(root(cluster)).keys())) - {OWNER}


def swept(cluster: Cluster) -> set[str]:
    """As `stored`, after all chores have run, with a sweep that does not wait for files to be old."""

    async def work() -> None:
        blobs = Folder(root(cluster))
        store = Store(cluster.redis_url, Settings(prefix=PREFIX, redis_url=cluster.redis_url), ticket_template())

        async def needed(keys: Sequence[str]) -> set[str]:
            return await store.files.needed(keys) | {OWNER}

        await blobs.clear_unfinished(0)
        await sweep(blobs, needed, older_than=0, second_look=0)
        while await store.files.expire():
            pass
        while keys := await store.files.trash():
            await blobs.delete(keys)
            await store.files.trashed(keys)
        await store.close()
        blobs.close()

    asyncio.run(work())
    return stored(cluster)


@contextmanager
def away(cluster: Cluster) -> Iterator[None]:
    """The blob store cannot be used: a file stands where its folder was."""
    place = root(cluster)
    aside = place.with_name("aside")
    aside.write_text("no folder")
    _exchange(place, aside)
    yield
    _exchange(place, aside)
    aside.unlink()


def _exchange(one: Path, other: Path) -> None:
    """Without a moment in which there is neither: a put would make a folder of its own."""
    if sys.platform == "linux":
        here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        assert ctypes.CDLL(None).renameat2(here, bytes(one), here, bytes(other), exchange) == 0, "the file system cannot exchange"
    else:
        third = one.with_name("third")
        one.rename(third)
        other.rename(one)
        third.rename(other)


def let_an_hour_pass(cluster: Cluster) -> None:
    """For files that wait for a job to need them."""
    for file_id in cluster.redis.zrange(f"{PREFIX}file-expire", 0, -1):
        cluster.redis.zadd(f"{PREFIX}file-expire", {file_id: 1}, xx=True)


def left_after_all(cluster: Cluster, caller: Caller, *, within: float = 20.0) -> list[str]:
    """What is still held when every job has been deleted and an hour has passed. Nobody may be working any more."""
    for job in caller.jobs():
        caller.delete(job["id"])
    deadline = time.monotonic() + within
    while held(cluster) and time.monotonic() < deadline:
        let_an_hour_pass(cluster)
        swept(cluster)
    return held(cluster)
