"""Flows that are run again from their top."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from models_for_steps import both, costly, hold, note, work

from longrun import Job, StepConflict, model


def paid(to: str, name: str, what: str = "") -> str:
    """A local step that costs."""
    note(to, name)
    return f"{name} paid{what}"


@both()
async def every_kind(job: Any, to: str, n: int) -> list[Any]:
    """Steps of each kind, then one that the test lets go on."""
    note(to, "flow")
    found = [await job.run(work, name="child", to=to), await job.step("local", paid, to, "local"), await job.sleep(0.01)]
    found.append(await job.wait_for("word", str))
    found += await job.gather(*(job.call(work, name=f"many{n}", to=to) for n in range(5)))
    note(to, "replayed")
    await hold(job, to, "running")
    return [*found, await job.run(work, name="last", to=to, wait=True)]


@both()
async def many(job: Any, to: str, n: int) -> int:
    """Sixty steps side by side, then a question."""
    note(to, "flow")
    done = await job.gather(*(job.call(work, name=f"many{n}", to=to) for n in range(60)))
    await job.wait_for("word", str)
    return len(done)


@model
async def shuffled(job: Job, to: str) -> list[str]:
    """Branches of two steps each, which begin and end in another order at each run."""
    times = note(to, "flow")

    async def branch(n: int) -> str:
        await asyncio.sleep(0.005 * ((n * times) % 3))
        one = await job.run(work, name=f"one{n}", to=to, key=f"named{n}" if n == 3 else None)
        assert one == f"one{n} done"
        return await job.run(work, name=f"two{n}", to=to, wait=True)

    order = list(range(4)) if times % 2 else list(reversed(range(4)))
    done = dict(zip(order, await asyncio.gather(*(branch(n) for n in order)), strict=True))
    return [done[n] for n in range(4)]


@both()
async def shuffled_calls(job: Any, to: str, n: int) -> list[str]:
    """Steps side by side, in another order at each run; in plain code too."""
    names = ["two0", "two1", "two2", "two3"]
    if note(to, "flow") % 2 == 0:
        names.reverse()
    return sorted(await job.gather(*(job.call(work, name=name, to=to, wait=True) for name in names), job.call(work, name="last", to=to)))[
        1:
    ]


@both()
async def varied(job: Any, to: str, n: int) -> list[str]:
    """Inputs that are others at each run."""
    note(to, "flow")
    found = [await job.run(work, name=f"one-{uuid.uuid4().hex}", to=to)]
    found += await job.gather(*(job.call(work, name=f"two-{uuid.uuid4().hex}", to=to) for _ in range(2)))
    return [*found, await job.run(work, name="last", to=to)]


@both()
async def renamed(job: Any, to: str, n: int) -> list[str]:
    """Named steps, with another input at each run."""
    times = note(to, "flow")
    one = await job.run(work, name=f"one-{times}", to=to, key="one")
    local = await job.step("local", paid, to, "local", f" {times}")
    return [one, local, await job.run(work, name="last", to=to)]


@both()
async def twice_named(job: Any, to: str, n: int) -> list[str]:
    """One name for two calls that are the same."""
    call = job.call(work, name="same", to=to, key="a")
    together = await job.gather(call, job.call(work, name="same", to=to, key="a"))
    return [*together, await job.run(call), await job.run(work, name="same", to=to, key="a")]


@both()
async def conflicts(job: Any, to: str, n: int) -> list[str]:
    """One name for two calls that are not: other input, other model, other function."""
    found = []
    for name, other in (("a", job.call(work, name="other", to=to, key="a")), ("b", job.call(costly, name="b", to=to, key="b"))):
        try:
            await job.gather(job.call(work, name=name, to=to, key=name), other)
        except StepConflict:
            found.append(f"{name} together")
        await job.run(work, name=f"{name}2", to=to, key=f"{name}2")
        try:
            await job.run(work, name="other2", to=to, key=f"{name}2")
        except StepConflict:
            found.append(f"{name} one by one")
    await job.step("l", paid, to, "local")
    try:
        await job.step("l", paid, to, "other3")
    except StepConflict:
        found.append("l")
    return found


@both()
async def equals(job: Any, to: str, n: int) -> list[Any]:
    """The same model and input twice, one after the other and side by side."""
    note(to, "flow")
    found = [await job.run(costly, name="x", to=to), await job.run(costly, name="x", to=to)]
    found += await job.gather(job.call(costly, name="x", to=to), job.call(costly, name="x", to=to))
    seen = await job.step("seen", list, found)
    await job.run(work, name="last", to=to)
    return [found, seen]


@model
async def equal_branches(job: Job, to: str) -> list[Any]:
    """The same step in two places that are come to in another order at each run."""
    times = note(to, "flow")

    async def left() -> str:
        await asyncio.sleep(0.01 * (times % 2))
        return await job.run(costly, name="x", to=to)

    async def right() -> str:
        await asyncio.sleep(0.01 * ((times + 1) % 2))
        return await job.run(costly, name="x", to=to)

    found = await asyncio.gather(left(), right())
    seen = await job.step("seen", list, found)
    await job.run(work, name="last", to=to)
    return [found, seen]
