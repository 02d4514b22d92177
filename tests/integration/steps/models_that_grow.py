"""Flows that are wide, deep and heavy (S24 to S27)."""

from __future__ import annotations

import resource
from typing import Any

from models_for_steps import both, broken, note, work

from longrun import File, Job, StepFailed, model


@model(queue="work", concurrency=100)
async def tiny(n: int) -> int:
    return n


@both(queue="flow", max_tree=20_000)
async def wide(job: Any, to: str, n: int) -> int:
    """So many children."""
    note(to, "wide")
    return sum(await job.gather(*(job.call(tiny, n=each) for each in range(n))))


@both(queue="flow", max_tree=20_000)
async def one_too_many(job: Any, to: str, n: int) -> list[Any]:
    """All that may be, and one more."""
    results = await job.map(tiny, ({"n": each} for each in range(n + 1)), return_exceptions=True)
    refused = [each for each in results if not isinstance(each, int)]
    return [len(results) - len(refused), [type(each).__name__ for each in refused], [each.code for each in refused]]


@model(queue="flow", concurrency=30)
async def deeper(job: Job, depth: int = 1) -> str:
    """It runs itself, down and down."""
    try:
        return str(await job.run(deeper, depth=depth + 1))
    except StepFailed as error:
        return f"{depth} {type(error).__name__} {error.code}"


@model(queue="flow", max_depth=3, concurrency=30)
def deeper_sync(job: Job, depth: int = 1) -> str:
    """The same in plain code, of a model that allows less."""
    try:
        return str(job.run(deeper_sync, depth=depth + 1))
    except StepFailed as error:
        return f"{depth} {type(error).__name__} {error.code}"


@model(queue="flow", max_tree=20, max_depth=20, concurrency=100)
async def bomb(job: Job, to: str) -> list[str]:
    """It runs itself twice, each time: what was refused anywhere below."""
    note(to, "bomb")
    results = await job.gather(*(job.call(bomb, to=to, key=str(each)) for each in range(2)), return_exceptions=True)
    return sorted({code for each in results for code in ([each.code] if isinstance(each, StepFailed) else each)})


@both(queue="flow", max_tree=3)
async def three_and_a_failure(job: Any, to: str, n: int) -> Any:
    """Two that succeed, one that fails until the test mends it; and one more, which fits when that is counted anew."""
    found = [await job.run(work, name=f"w{each}", to=to) for each in range(2)]
    found.append(await job.run(broken, name="b", to=to))
    for each in range(n):
        found.append(await job.run(work, name=f"more{each}", to=to))
    return found


@model(queue="work", concurrency=8)
def costs(cost: float, *, job: Job) -> float:
    job.usage(cost_usd=cost)
    return cost


@model(queue="flow", concurrency=20)
async def below(job: Job) -> list[str]:
    """It spends what its root's budget has left."""
    return await _spend(job)


@both(queue="flow", budget={"cost_usd": 1.0})
async def frugal(job: Any, to: str, n: int) -> list[str]:
    """What comes of five times 0.4: by itself, or by a job below it."""
    if n:
        found = list(await job.run(below))
        try:
            await job.run(costs, cost=0.0)
        except StepFailed as error:
            found.append(error.code)
        return found
    return await _spend(job)


async def _spend(job: Any) -> list[str]:
    found = []
    for each in range(5):
        try:
            found.append(str(await job.run(costs, cost=0.4, key=str(each))))
        except StepFailed as error:
            found.append(f"{type(error).__name__} {error.code}")
    return found


@model(queue="work")
def big(size: int) -> str:
    return "x" * size


@model(queue="work")
def big_file(size: int) -> File:
    return File(b"x" * size, name="big.bin", content_type="application/octet-stream")


@model(queue="work")
def size_of(file: File) -> int:
    return len(file.read())


def _peak() -> int:
    """Most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@both(queue="heavy")
async def passes_on(job: Any, to: str, n: int) -> list[int]:
    """A file that one step makes and another one reads; how much this process has grown meanwhile."""
    before = _peak()
    file = await job.run(big_file, size=n)
    return [await job.run(size_of, file=file), _peak() - before]


@both(queue="flow")
async def takes(job: Any, to: str, n: int) -> list[Any]:
    """A large output that is no file; it goes on when the test says so."""
    try:
        size: Any = len(await job.run(big, size=n))
    except StepFailed as error:
        size = error.code
    await job.run(work, name="after", to=to, wait=True)
    return [size]


@model(queue="work")
def reply(messages: list[str]) -> str:
    return f"{len(messages)} " + "y" * 500


@both(queue="flow")
async def talks_on(job: Any, to: str, n: int) -> int:
    """An agent's loop: each turn is given all that was said before."""
    messages = ["hello"]
    for _ in range(n):
        messages.append(await job.run(reply, messages=messages))
    return len(messages)


@model(queue="work")
def length(text: str) -> int:
    return len(text)


@both(queue="flow")
async def gives_much(job: Any, to: str, n: int) -> Any:
    """A large input, made here or by a step; then one that is small."""
    note(to, "flow")
    try:
        found: Any = await job.run(length, text=await job.run(big, size=n))
    except StepFailed as error:
        found = [type(error).__name__, error.code, error.detail]
    return [found, await job.run(length, text="small")]
