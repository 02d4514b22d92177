"""Models of many jobs at once. The flows have queues and places of their own, so that a lane of one slot is one."""

from __future__ import annotations

import asyncio
from typing import Any

from longrun import Job, StepFailed, model


@model(queue="work", concurrency=64)
async def leaf(n: int) -> int:
    """Nothing, and soon."""
    await asyncio.sleep(0)
    return n


async def _wide(n: int, job: Job, model: Any) -> int:
    if n == 0:
        return 1
    return sum(await job.gather(*(job.call(model, n=0, index=each) for each in range(n))))


@model(queue="flow", concurrency=1)
async def one(n: int, job: Job, index: int = 0) -> int:
    """Its steps are its own, on the one place of its lane."""
    return await _wide(n, job, one)


@model(queue="flow", concurrency=8)
async def eight(n: int, job: Job, index: int = 0) -> int:
    """The same on eight."""
    return await _wide(n, job, eight)


@model(queue="flow", concurrency=1)
def one_sync(n: int, job: Job, index: int = 0) -> int:
    """The same in plain code."""
    return sum(job.gather(*(job.call(one_sync, n=0, index=each) for each in range(n)))) if n else 1


@model(queue="flow", concurrency=8)
def eight_sync(n: int, job: Job, index: int = 0) -> int:
    """The same in plain code, on eight places."""
    return sum(job.gather(*(job.call(eight_sync, n=0, index=each) for each in range(n)))) if n else 1


@model(queue="flow", concurrency=4)
async def waits(n: int, job: Job) -> int:
    """For somebody who does not come soon."""
    await job.wait_for("go", int, timeout=86_400)
    return n


@model(queue="other", concurrency=4)
def waits_sync(n: int, job: Job) -> int:
    """The same in plain code."""
    job.wait_for("go", int, timeout=86_400)
    return n


@model(queue="flow", concurrency=8, max_tree=1000)
async def bomb(job: Job, depth: int = 0) -> list[str]:
    """Runs itself twice, and so on. Codes of all refusals below, and the depth of the lowest."""
    found: list[str] = []
    for below in await job.gather(*(job.call(bomb, depth=depth + 1) for _ in range(2)), return_exceptions=True):
        found += [below.code] if isinstance(below, StepFailed) else ["refused"] if isinstance(below, Exception) else below
    return [*found, f"depth {depth}"]


@model(queue="work", concurrency=64)
async def text(n: int, size: int) -> str:
    """So many characters."""
    return chr(97 + n % 26) * size


@model(queue="flow", max_tree=20_000)
async def reads(n: int, size: int, job: Job) -> int:
    """Many large results, of which it keeps none."""
    total = 0
    for first in range(0, n, 1000):
        numbers = range(first, min(first + 1000, n))
        total += sum(map(len, await job.gather(*(job.call(text, n=each, size=size) for each in numbers))))
    return total


@model(queue="flow")
async def sleeps(job: Job) -> str:
    """For three days."""
    await job.sleep(3 * 86_400)
    return "awake"
