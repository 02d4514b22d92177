"""Flows with limits of time, sleeps and questions."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from models_for_steps import both, note, work
from pydantic import BaseModel

from longrun import Job, SoftTimeLimit, StepFailed


class Decision(BaseModel):
    """An answer."""

    ok: bool


@both(timeout=3)
async def computes(job: Any, to: str, n: int) -> str:
    """Waits, and then computes for a second."""
    note(to, "flow")
    await job.run(work, name="child", to=to, wait=True)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        await pause(job)
    return "done"


async def pause(job: Any) -> None:
    """Some work."""
    if isinstance(job, Job):
        await asyncio.sleep(0)
    else:
        sum(range(10_000))


@both(timeout=600, soft_timeout=500, total_timeout=600)
async def partial(job: Any, to: str, n: int) -> str:
    """Gives what it has when its time is over while it waits."""
    note(to, "flow")
    try:
        await job.run(work, name="child", to=to, wait=True)
    except SoftTimeLimit:
        note(to, "limit")
        return "so far"
    return "done"


@both()
async def children(job: Any, to: str, n: int) -> None:
    """Two children, one with a time of its own."""
    await job.gather(job.call(work, name="a", to=to, wait=True), job.call(work, name="b", to=to, wait=True, timeout=3600, key="b"))


@both()
async def sleeps(job: Any, to: str, n: int) -> str:
    """Sleeps for three days."""
    note(to, "flow")
    await job.sleep(3 * 86_400)
    note(to, "woke")
    return "slept"


@both()
async def asks(job: Any, to: str, n: int) -> Any:
    """Waits for an answer, two hours, and for a time beside it."""
    note(to, "flow")
    await job.run(work, name="before", to=to, wait=True)
    try:
        answer = await job.wait_for("ok", Decision, ask="may I?", timeout=7200)
    except StepFailed as error:
        return error.code
    return answer.ok
