"""Parents that wait for their steps: a worker's engine over a real store, with runners that are scripts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import Caller
from tests.integration.worker.scripted_runner import MANY, ONE, Job, Scripted, scripted_seats, serve

from longrun.jobs.policy import Policy
from longrun.jobs.record import JobRecord
from longrun.settings import Settings
from longrun.worker.engine import Engine

Serving = Callable[..., Any]


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes worlds, in which jobs run a piece of code."""

    def make(code: Callable[[Job], Awaitable[Any]]) -> Scripted:
        made = Scripted(settings, code)
        contexts.append(scripted_seats(made, monkeypatch))
        contexts[-1].__enter__()
        return made

    contexts: list[Any] = []
    yield make
    for context in reversed(contexts):
        context.__exit__(None, None, None)


@asynccontextmanager
async def served(world: Scripted, caller: Caller, *specs: Any, **settings: Any) -> AsyncIterator[Engine]:
    """A worker that takes tickets, until the end of the block."""
    with world.worker(*specs, **settings) as engine:
        serving = asyncio.ensure_future(serve(engine, caller.store))
        try:
            yield engine
        finally:
            await asyncio.to_thread(engine.stop, engine.settings.grace)
            serving.cancel()


async def nested(job: Job) -> int:
    """A tree: each node has two children, down to depth 0."""
    depth = job.data["x"]
    await asyncio.sleep(0)
    if depth == 0:
        return 1
    return 1 + sum(await job.run("left", "right", model=job.model, x=depth - 1))


@pytest.mark.parametrize(("spec", "rehearse"), [(ONE, False), (MANY, False), (ONE, True), (MANY, True)])
async def test_s18_one_slot_suffices_for_any_tree(caller: Caller, world: Any, spec: Any, rehearse: bool) -> None:
    it = world(nested)
    async with served(it, caller, spec, concurrency=1, rehearse=rehearse):
        roots = [await caller.submit(spec.name, x=3) for _ in range(2)]
        ended = [await caller.end(root) for root in roots]
    assert [(job.status, job.output) for job in ended] == [("succeeded", b"15")] * 2
    assert it.most == 1
    leaves_and_parents = Counter(it.begun.values())
    if rehearse:
        assert leaves_and_parents[1] >= 16, "leaves run once"
        assert max(leaves_and_parents) > 1, "parents are let go, and run again"
    else:
        assert leaves_and_parents == {1: 30}, "nothing runs twice: those that wait stay where they are"


async def test_s16_p8_blame_is_for_code_that_ran(caller: Caller, world: Any) -> None:
    """A parent that crashes its runner each time it goes on is ended; one that waits beside it all the time is charged nothing."""

    async def code(job: Job) -> Any:
        await job.run("child", model="many" if job.data["x"] == 1 else "one", x=3) if job.data["x"] < 3 else None
        if job.data["x"] == 1:
            job.process.die()
            await asyncio.sleep(60)

    it = world(code)
    async with served(it, caller, MANY):  # nobody serves the child of the other one
        patient = await caller.submit("many", x=2)
        await caller.until(patient, "waiting")
        poison = await caller.end(await caller.submit("many", x=1))
        assert (poison.status, code_of(poison)) == ("failed", "worker-lost")
        crashes = await caller.store.connection.command("HGET", f"{caller.store.prefix}job:{patient}", "crashes")
        assert ((await caller.read(patient)).status, int(crashes or 0)) == ("waiting", 0)
    assert it.begun[poison.id] == 3
    assert sum(it.begun.values()) - it.begun[patient] == 4, "its child ran once"


def code_of(job: JobRecord) -> str:
    return str(orjson.loads(job.error or b"{}")["code"])


async def test_s21_p4_a_worker_that_stops_lets_all_go_and_another_one_goes_on(caller: Caller, world: Any) -> None:
    async def code(job: Job) -> Any:
        if job.data["x"] == 1:
            await job.sleep(3600)
            return await job.run("leaf", model="many", x=0)
        return 7

    it = world(code)
    async with served(it, caller, MANY, concurrency=300):
        jobs = [await caller.submit("many", x=1) for _ in range(250)]
        for job_id in jobs:
            await caller.until(job_id, "waiting")
    assert sum(it.begun.values()) == 250
    command, prefix = caller.store.connection.command, caller.store.prefix
    assert {await command("HGET", f"{prefix}job:{job_id}", "status") for job_id in jobs} == {b"asleep"}
    for job_id in jobs:  # an hour later
        _, _, rest = (await command("HGET", f"{prefix}steps:{job_id}", "z:1")).split(b" ", 2)
        await command("HSET", f"{prefix}steps:{job_id}", "z:1", b"t 1 " + rest)
        await command("HSET", f"{prefix}job:{job_id}", "until", 1)
        await command("ZADD", f"{prefix}timers:{job_id}", 1, "z:1")
        await command("ZADD", f"{prefix}due", 1, job_id)
    async with served(it, caller, MANY, concurrency=300):
        assert [(await caller.end(job_id)).output for job_id in jobs] == [b"[7]"] * 250
    assert sorted(Counter(it.begun.values())) == [1, 2]


async def test_s29_who_must_not_run_twice_is_outcome_unknown_when_its_runner_dies_while_it_waits(caller: Caller, world: Any) -> None:
    async def code(job: Job) -> Any:
        if job.data["x"] == 1:
            return await job.run("leaf", model="one", x=2)
        await asyncio.sleep(60)

    it = world(code)
    async with served(it, caller, ONE, MANY, rehearse=True):
        job_id = await caller.submit("many", x=1, policy=Policy(delivery="at_most_once"))
        await caller.until(job_id, "waiting")
        (process,) = [each for each in it.processes if each.jobs and "many" in each.concurrency]
        engine_loop = next(iter(process.tasks)).get_loop()
        engine_loop.call_soon_threadsafe(process.die)
        ended = await caller.end(job_id)
        assert (ended.status, code_of(ended), it.begun[job_id]) == ("failed", "outcome-unknown", 1)


async def test_s13_s17_a_parent_that_waits_and_is_canceled_ends_at_once_and_its_children_with_it(caller: Caller, world: Any) -> None:
    async def code(job: Job) -> Any:
        if job.data["x"] == 1:
            return await job.run("leaf", model="one", x=2)
        await job.hear()

    it = world(code)
    async with served(it, caller, ONE, MANY):
        job_id = await caller.submit("many", x=1)
        await caller.until(job_id, "waiting")
        entry = await caller.store.connection.command("HGET", f"{caller.store.prefix}steps:{job_id}", "n:leaf")
        await caller.store.records.cancel(job_id, "t")
        assert (await caller.end(job_id)).status == "canceled"
        assert (await caller.end(entry.split()[1].decode())).status == "canceled"
