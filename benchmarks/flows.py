"""The models of the row about steps: flows of steps that do nothing, and one of steps that only take time."""

import asyncio

from longrun import Job, model

SECONDS = {"analyse": 2.0, "draw": 6.0, "judge": 3.0}
DRAWS = 4


@model(queue="work", concurrency=64)
async def nothing(n: int) -> int:
    """A step."""
    return n


@model(queue="flow", concurrency=8)
async def wide(n: int, job: Job) -> int:
    """So many steps at once."""
    return len(await job.gather(*(job.call(nothing, n=each) for each in range(n))))


@model(queue="flow", concurrency=8)
async def chain(n: int, job: Job) -> int:
    """So many steps, one after the other."""
    for each in range(n):
        await job.run(nothing, n=each)
    return n


@model(queue="work", concurrency=8)
async def stub(what: str) -> str:
    """A call to somebody else, who takes his time."""
    await asyncio.sleep(SECONDS[what])
    return what


@model(queue="flow", concurrency=8)
async def logo(job: Job) -> str:
    """An analysis, four draws side by side, a judgement."""
    await job.run(stub, what="analyse")
    await job.gather(*(job.call(stub, what="draw") for _ in range(DRAWS)))
    return await job.run(stub, what="judge")
