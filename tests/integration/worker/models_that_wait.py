"""Jobs that wait for jobs: functions of one module, which share their runner."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import time
from pathlib import Path

import longrun
from longrun import Job, model

if (only := os.environ.get("ONLY_ONE")) and Path(sys.argv[0]).name == Path(__file__).name:
    # A model that wants something for itself: the second runner beside another one does not load.
    lock = Path(only).open("w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def call(job: Job, name: str, **fields: object) -> int:
    """Run a child, once however often the parent runs, and wait for it."""
    child = await longrun.submit(name, fields, tenant="t", idempotency_key=f"{job.id}-{name}")
    return int(await child.result())


@model(concurrency=8)
async def flow(job: Job, depth: int = 1, seconds: float = 1.5, after: str = "") -> int:
    """Wait for a child, which waits for one, and so on; `after`: a file that must be there first."""
    while after and not Path(after).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.02)
    if depth:
        return 1 + await call(job, "flow", depth=depth - 1, seconds=seconds)
    await asyncio.sleep(seconds)
    return 0


@model
def sync_flow(job: Job, seconds: float = 1.5) -> int:
    """One at a time, it waits for one that runs one at a time."""

    async def wait() -> int:
        try:
            return 1 + await call(job, "sync_leaf", seconds=seconds)
        finally:
            await longrun.inprocess.close()

    return asyncio.run(wait())


@model
def sync_leaf(seconds: float = 1.5) -> int:
    """Takes its time."""
    time.sleep(seconds)
    return 0


@model(concurrency=8)
async def doomed(seconds: float = 1.0) -> None:
    """Takes its runner with it."""
    await asyncio.sleep(seconds)
    os._exit(3)


@model(concurrency=8)
async def greedy_flow(job: Job) -> int:
    """Wait for a child; the first time it runs, memory is short."""
    marker = Path(f"{job.id}-was-here")
    if not marker.exists():  # noqa: ASYNC240
        marker.touch()  # noqa: ASYNC240
        await asyncio.sleep(0.2)
        raise MemoryError
    return 1 + await call(job, "flow", depth=1, seconds=0.2)
