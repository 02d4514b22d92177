"""Flows whose trees are looked at from outside (S33 to S38, S43)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from models_for_steps import both, broken, gate, is_open, note, work
from pydantic import BaseModel

from longrun import File, Job, model


@model(queue="work", retain_for=0)
def fleeting(text: str) -> File:
    return File(text.encode(), name="a.txt")


class Made(BaseModel):
    file: File


@model(queue="flow")
async def makes(job: Job, to: str, fails: bool = False) -> Made:
    """A file of a step that does not say that it is to be kept."""
    file = await job.run(fleeting, text="kept")
    if fails:
        await job.run(broken, name="b", to=to)
    return Made(file=file)


@model(queue="flow")
def makes_sync(job: Job, to: str, fails: bool = False) -> Made:
    """The same in plain code."""
    file = job.run(fleeting, text="kept")
    if fails:
        job.run(broken, name="b", to=to)
    return Made(file=file)


@model(queue="flow", concurrency=20)
async def nests(job: Job, to: str, n: int) -> int:
    """Two below each, so deep."""
    if n:
        return 1 + sum(await job.gather(*(job.call(nests, to=to, n=n - 1, key=str(each)) for each in range(2))))
    await job.run(work, name="leaf", to=to, key="leaf")
    return 1


@model(queue="one", concurrency=1)
def turn(name: str, to: str, wait: bool = False) -> str:
    """One at a time, and not in a moment: a worker takes short ones by the dozen beforehand."""
    note(to, name)
    time.sleep(0.1)
    if wait:
        gate(to, name)
    return name


@both(queue="flow", concurrency=20)
async def takes_turns(job: Any, to: str, n: int) -> str:
    """Three steps, one after the other, in a lane that others use too."""
    for each in range(3):
        await job.run(turn, name=f"step{each}", to=to)
    return "done"


@model(queue="work", concurrency=4)
async def talks(to: str) -> AsyncIterator[str]:
    """Three words; before the last two it waits for the test."""
    for each in range(3):
        if each:
            while not is_open(to, f"word{each}") and not is_open(to, "all"):  # noqa: ASYNC110 - another process opens it
                await asyncio.sleep(0.01)
        yield f"word{each} "


@model(queue="flow")
async def listens(job: Job, to: str) -> AsyncIterator[str]:
    """It has words of its own, and those of a step."""
    yield "own "
    said = await job.run(talks, to=to, stream=True, key="talk")
    yield f"heard {''.join(said)}"


@model(queue="flow")
def listens_sync(job: Job, to: str) -> Iterator[str]:
    """The same in plain code."""
    yield "own "
    said = job.run(talks, to=to, stream=True, key="talk")
    yield f"heard {''.join(said)}"


@model(queue="flow")
async def does_not_listen(job: Job, to: str) -> str:
    return "".join(await job.run(talks, to=to, key="talk"))


@model(queue="flow")
async def through(job: Job, to: str) -> str:
    """A stream of a step's step."""
    return "".join(await job.run(listens, to=to, stream=True, key="mid"))


@model(queue="work", concurrency=100)
async def tiny(n: int) -> int:
    return n


@both(queue="flow")
async def reports(job: Any, to: str, n: int) -> str:
    """It says something before, between and after its steps."""
    note(to, "flow")
    for each, at in enumerate(("first", "between", "last")):
        print(f"printed {at}")
        job.log(f"logged {at}")
        job.progress(0.1 * each, at)
        job.usage(tokens=10**each)
        if at != "last":
            await job.run(work, name=at, to=to, wait=at == "between")
    return "reported"


@both(queue="flow")
async def wide(job: Any, to: str, n: int) -> int:
    """So many steps."""
    return sum(await job.gather(*(job.call(tiny, n=each) for each in range(n))))


def add(value: int) -> int:
    return value + 1


@both(queue="flow")
async def every_kind(job: Any, to: str, n: int) -> str:
    """A step of each kind; with the gate `new` open, its code is another one."""
    note(to, "flow")
    name = "new" if is_open(to, "new") else "old"
    await job.step(f"local-{name}", add, 1)
    await job.run(work, name=name, to=to, key=name)
    await job.sleep(0.01)
    return str(await job.wait_for("go", str, ask={"which": name}))


@both(queue="flow")
async def fails(job: Any, to: str, n: int) -> None:
    await job.run(broken, name="b", to=to)
