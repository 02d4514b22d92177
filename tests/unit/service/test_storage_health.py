"""What /readyz says of the blob store: looked at now and then, never waited for long."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from longrun.blobs.contract import Blobs
from longrun.errors import BlobsFull, BlobsUnavailable
from longrun.service.storage_health import StorageHealth


class FakeBlobs:
    """Checks as it is told to."""

    def __init__(self) -> None:
        self.looks = 0
        self.error: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def check(self) -> None:
        self.looks += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error


def look_at(blobs: FakeBlobs, *, every: float = 10.0, patience: float = 2.0) -> StorageHealth:
    return StorageHealth(cast(Blobs, blobs), every=every, patience=patience)


async def test_a_blob_store_is_looked_at_once_however_many_ask() -> None:
    blobs = FakeBlobs()
    look = look_at(blobs)
    answers = await asyncio.gather(*[look.checks() for _ in range(20)])
    assert [*answers, await look.checks()] == [{"files": "ok"}] * 21
    assert blobs.looks == 1


async def test_after_a_while_it_is_looked_at_again() -> None:
    blobs = FakeBlobs()
    look = look_at(blobs, every=0.05)
    assert await look.checks() == {"files": "ok"}
    blobs.error = BlobsUnavailable("It does not exist.")
    assert await look.checks() == {"files": "ok"}
    await asyncio.sleep(0.06)
    assert await look.checks() == {"files": "unavailable: It does not exist."}
    blobs.error = BlobsFull("No room.")
    await asyncio.sleep(0.06)
    assert await look.checks() == {"files": "full: No room."}
    blobs.error = RuntimeError("/a/path/of/ours")
    await asyncio.sleep(0.06)
    assert await look.checks() == {"files": "unavailable: RuntimeError"}


async def test_one_that_hangs_is_waited_for_once_and_asked_once() -> None:
    blobs = FakeBlobs()
    blobs.answers.clear()
    look = look_at(blobs, patience=0.5)
    begun = time.monotonic()
    for _ in range(100):
        assert (await look.checks())["files"].startswith("unavailable: it does not answer")
    assert time.monotonic() - begun < 25, "those who come later need not wait again"
    assert blobs.looks == 1
    blobs.answers.set()
    await asyncio.sleep(0.01)
    assert await look.checks() == {"files": "ok"}
    look.close()


async def test_a_caller_that_leaves_does_not_end_the_look() -> None:
    blobs = FakeBlobs()
    blobs.answers.clear()
    look = look_at(blobs)
    caller = asyncio.create_task(look.checks())
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    blobs.answers.set()
    assert await look.checks() == {"files": "ok"}
    assert blobs.looks == 1
