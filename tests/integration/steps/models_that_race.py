"""Flows that take the first, and flows that give steps up (S31, S32)."""

from __future__ import annotations

import asyncio
from typing import Any

from models_for_steps import both, broken, is_open, note, work

from longrun import Job, StepFailed, model


@model(queue="work", concurrency=20)
async def slow(name: str, to: str) -> str:
    """Until the test opens its gate; it says that it was stopped."""
    note(to, name)
    try:
        while not is_open(to, name) and not is_open(to, "all"):  # noqa: ASYNC110 - another process opens it
            await asyncio.sleep(0.01)
    except BaseException:
        note(to, f"{name}-stopped")
        raise
    return f"{name} done"


@both(queue="flow")
async def takes_first(job: Any, to: str, n: int) -> list[Any]:
    """The first of three; it goes on when the test says so."""
    note(to, "flow")
    calls = [job.call(slow, name=name, to=to) for name in "abc"]
    if n:
        calls.insert(0, job.call(broken, name="broken", to=to))
    won = await job.first(*calls)
    note(to, f"won-{won[0]}")
    return [won, await job.run(work, name="after", to=to, wait=True)]


@both(queue="flow")
async def none_is_first(job: Any, to: str, n: int) -> str:
    """All fail."""
    try:
        return str(await job.first(*(job.call(broken, name=name, to=to, key=name) for name in "xy")))
    except StepFailed as error:
        return error.step


@model(queue="flow")
async def in_order(job: Job, to: str) -> list[Any]:
    """In which order plain asyncio sees them end, twice."""
    note(to, "flow")
    tasks = {asyncio.ensure_future(job.run(slow, name=name, to=to)): name for name in "abc"}
    seen = []
    open_ = set(tasks)
    while open_:
        done, open_ = await asyncio.wait(open_, return_when=asyncio.FIRST_COMPLETED)
        seen.append("".join(sorted(tasks[each] for each in done)))
        if len(seen) == 1:
            note(to, f"first-{seen[0]}")
            seen.append(await job.run(work, name=f"then-{seen[0]}", to=to))
    again = [await each for each in asyncio.as_completed([job.run(slow, name=name, to=to) for name in "def"])]
    return [seen, again, await job.run(work, name="after", to=to, wait=True)]


@model(queue="flow")
async def gives_up(job: Job, to: str, how: str) -> list[Any]:
    """Code of asyncio's own gives a step up."""
    note(to, "flow")
    said: list[str] = []
    try:
        match how:
            case "timeout":
                async with asyncio.timeout(0.4):
                    await job.run(slow, name="a", to=to)
            case "gather":
                async with asyncio.timeout(0.4):
                    await job.gather(job.call(slow, name="a", to=to), job.call(slow, name="b", to=to))
            case "wait_for":
                await asyncio.wait_for(job.run(slow, name="a", to=to), 0.4)
            case "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(job.run(slow, name="a", to=to))
                    group.create_task(job.run(broken, name="x", to=to))
            case "task":
                task = asyncio.ensure_future(job.run(slow, name="a", to=to))
                await asyncio.sleep(0.4)
                task.cancel()
                await task
            case "option":
                await job.run(slow, name="a", to=to, timeout=1.5)
    except* StepFailed as errors:
        said += [getattr(each, "code", "") for each in errors.exceptions]
    except* (TimeoutError, asyncio.CancelledError) as errors:
        said += [type(each).__name__ for each in errors.exceptions]
    note(to, "gave-up")
    return [*said, await job.run(work, name="after", to=to, wait=True)]


@model(queue="flow")
def gives_up_sync(job: Job, to: str, how: str) -> list[Any]:
    """Plain code has an option alone."""
    note(to, "flow")
    try:
        said = job.run(slow, name="a", to=to, timeout=1.5)
    except StepFailed as error:
        said = error.code
    return [said, job.run(work, name="after", to=to, wait=True)]


@model(queue="flow")
async def patient(job: Job, to: str, how: str) -> list[Any]:
    """It is let go, or stopped, inside what would give a step up."""
    note(to, "flow")
    match how:
        case "timeout":
            async with asyncio.timeout(600):
                return [await job.run(slow, name="a", to=to)]
        case "group":
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(job.run(slow, name=name, to=to)) for name in "ab"]
            return [each.result() for each in tasks]
        case _:
            return list(await asyncio.gather(*(job.run(slow, name=name, to=to) for name in "ab")))
