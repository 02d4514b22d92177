"""Programs of chance whose steps end, whose timers fire and which are let go at any moment: each step is made once."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import orjson
import pytest

from longrun.models import Job, isolated_registry, model

from .steps_played import CHILDREN, PlayedWorker

SEEDS = [*range(5), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(5, 60))]


async def in_a_row(job: Job, name: str, depth: int, shape: random.Random) -> list[Any]:
    return [await node(job, f"{name}{n}", depth, shape) for n in range(shape.randint(1, 3))]


async def gathered(job: Job, name: str, depth: int, shape: random.Random) -> list[Any]:
    shapes = [random.Random(shape.random()) for _ in range(3)]
    return list(await asyncio.gather(*(node(job, f"{name}{n}", depth, each) for n, each in enumerate(shapes))))


async def grouped(job: Job, name: str, depth: int, shape: random.Random) -> list[Any]:
    shapes = [random.Random(shape.random()) for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(node(job, f"{name}{n}", depth, each)) for n, each in enumerate(shapes)]
    return [task.result() for task in tasks]


async def by_workers(job: Job, name: str, depth: int, shape: random.Random) -> list[Any]:
    """Two of them, with a queue."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    results: dict[int, Any] = {}

    async def work() -> None:
        while True:
            n = await queue.get()
            results[n] = await job.run(CHILDREN["draw"], data=f"{name}{n}")
            queue.task_done()

    for n in range(4):
        queue.put_nowait(n)
    workers = [asyncio.create_task(work()) for _ in range(2)]
    await queue.join()
    for each in workers:
        each.cancel()
    await asyncio.wait(workers)
    return [results[n] for n in sorted(results)]


async def limited(job: Job, name: str, depth: int, shape: random.Random) -> list[Any]:
    limit = asyncio.Semaphore(2)

    async def one(n: int) -> Any:
        async with limit:
            return await job.run(CHILDREN["draw"], data=f"{name}{n}")

    return list(await asyncio.gather(*(one(n) for n in range(5))))


async def napping(job: Job, name: str, depth: int, shape: random.Random) -> list[Any]:
    """With a timer of its own beside a step."""
    step, _ = await asyncio.gather(job.run(CHILDREN["judge"], data=name), asyncio.sleep(shape.random() * 0.3))
    return [step]


async def node(job: Job, name: str, depth: int, shape: random.Random) -> Any:
    if not depth:
        return await job.run(CHILDREN["draw"], data=name)
    how = shape.choice([in_a_row, gathered, grouped, by_workers, limited, napping])
    return await how(job, f"{name}.", depth - 1, shape)


with isolated_registry():

    @model
    async def program(seed: int, job: Job) -> Any:
        return await gathered(job, "", 2, random.Random(seed))


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_is_let_go_anywhere_pays_once_and_comes_to_the_same(seed: int) -> None:
    chance = random.Random(seed * 7919)
    expected = PlayedWorker(program, lambda _, data: ("succeeded", orjson.dumps(data["data"]))).start(seed=seed)
    plain = await expected.outcome()
    assert plain[2] == "ok"
    worker, made = PlayedWorker(program).start(seed=seed), list[str]()
    while True:
        await worker.until(lambda worker=worker: worker.parked or worker.done or chance.random() < 0.01)
        if worker.done:
            if (await worker.outcome())[2] != "waited":
                break
            made += worker.made
            worker = worker.again(program).start(seed=seed)
            continue
        if worker.parked and chance.random() < 0.5:
            worker.let_go()
            await asyncio.sleep(0.001)
            continue
        pending = [key for key, child in worker.children.items() if child[2] == "pending"]
        for key in chance.sample(pending, min(len(pending), chance.randint(1, 3))):
            worker.end(key, worker.children[key][1]["data"])
        await asyncio.sleep(chance.random() * 0.002)
    made += worker.made
    assert (await worker.outcome())[2:4] == plain[2:4]
    assert len(made) == len(set(made)) == len(expected.made)
    assert sorted(str(child[1]) for child in worker.children.values()) == sorted(str(child[1]) for child in expected.children.values())
