"""Flows that end, are stopped or die while their steps are open."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from models_for_steps import both, gate, hold, is_open, never, note, work

from longrun import Canceled, Job, model


@model(queue="work", concurrency=16)
def stubborn(to: str) -> str:
    """Does not stop when it is asked to, for a second."""
    note(to, "stubborn")
    try:
        gate(to, "stubborn")
    except Canceled:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            time.sleep(0.01)
        raise
    return "done"


@both()
async def nested(job: Any, to: str, n: int) -> None:
    """Three levels: each has a step that runs, one that is queued, and one below it."""
    note(to, f"level{n}")
    calls = [job.call(work, name=f"runs{n}", to=to, wait=True), job.call(never, to=to)]
    calls.append(job.call("nested", to=to, n=n - 1) if n else job.call(stubborn, to=to))
    try:
        await job.gather(*calls)
    except Canceled:
        try:
            await job.run(work, name="after", to=to)
        except Canceled:
            note(to, "refused")
        raise


@model
async def leaves_open(job: Job, to: str, how: str = "") -> str:
    """Ends otherwise, with a task that waits for a step and one that waits for a level below."""
    tasks = [asyncio.create_task(job.run(work, name="open", to=to, wait=True)), asyncio.create_task(job.run("nested", to=to, n=0))]
    await job.run(work, name="first", to=to)
    while not is_open(to, "end"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    if how == "raise":
        raise ValueError(tasks)
    while how == "timeout":  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return "done"


@both()
async def detaches(job: Any, to: str, n: int) -> list[str]:
    """Begins a job of its own, twice the same in two attempts."""
    note(to, "flow")
    child = await job.run(work, name="detached", to=to, wait=True, detached=True)
    note(to, child)
    note(to, "begun")
    await hold(job, to, "end")
    return [child]


@both()
async def quick(job: Any, to: str, n: int) -> int:
    """Steps that end at once, one after the other."""
    total = 0
    for each in range(n):
        total += await job.run(number, n=each)
    return total


@model(queue="work", concurrency=16)
def number(n: int) -> int:
    """Ends a little later."""
    time.sleep(0.001 * (n % 4))
    return n


@both()
async def waits(job: Any, to: str, n: int) -> str:
    """Waits for a step."""
    note(to, "flow")
    return await job.run(work, name="child", to=to, wait=True)


@both()
async def poison(job: Any, to: str, n: int) -> None:
    """Waits, and kills its runner as soon as it goes on."""
    await job.run(number, n=0)
    note(to, "poison")
    os.kill(os.getpid(), signal.SIGKILL)


@both()
async def suspects(job: Any, to: str, n: int) -> list[str]:
    """Runs its code beside others, then waits for a step. The test kills the runner meanwhile."""
    note(to, f"flow{n}")
    await hold(job, to, "first")
    return [await job.run(work, name=f"child{n}", to=to, wait=True)]


@model(concurrency=1)
async def one_slot(job: Job, to: str, n: int) -> int:
    """A tree on one slot."""
    return 1 + sum(await job.gather(*(job.call(one_slot, to=to, n=n - 1) for _ in range(2)))) if n else 1


@model(name="one_slot_sync")
def one_slot_sync(job: Job, to: str, n: int) -> int:
    """The same in plain code."""
    return 1 + sum(job.gather(*(job.call(one_slot_sync, to=to, n=n - 1) for _ in range(2)))) if n else 1


@model(concurrency=1, queue="flow")
async def goes_before(job: Job, to: str, n: int) -> str:
    """On one slot: n = 0 waits for a step, another n holds the slot until its gate opens."""
    note(to, f"begun{n}")
    if n == 0:
        await job.run(work, name="child", to=to, wait=True)
        note(to, "resumed")
    while n and not is_open(to, f"slot{n}") and not is_open(to, "all"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return "done"


@model(name="goes_before_sync", queue="flow")
def goes_before_sync(job: Job, to: str, n: int) -> str:
    """The same in plain code."""
    note(to, f"begun{n}")
    if n == 0:
        job.run(work, name="child", to=to, wait=True)
        note(to, "resumed")
    elif n:
        gate(to, f"slot{n}")
    return "done"
