"""The way to each task of a call: the same whatever the timing, with each factory, and no other call's."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from typing import Any

import pytest

from longrun.models.steps.branch import branch_of, here
from longrun.worker.runner.branches import Factory, begin

Places = dict[Any, str]


async def note(places: Places, what: Any) -> None:
    branch = here()
    assert branch is not None
    places[what] = branch.place("draw")
    await asyncio.sleep(random.random() * 0.003)


async def noise() -> None:
    await asyncio.sleep(random.random() * 0.002)
    await asyncio.create_task(asyncio.sleep(0))


async def one_of_several(places: Places, number: int) -> None:
    await noise()
    await note(places, ("branch", number, 0))
    await noise()
    async with asyncio.timeout(5):
        await note(places, ("branch", number, 1))


async def program(places: Places) -> None:
    await note(places, "plan")
    await asyncio.gather(*(one_of_several(places, n) for n in range(4)))
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(note(places, ("group", n)))
    tasks = [asyncio.create_task(note(places, ("list", n))) for n in range(3)]
    for each in asyncio.as_completed(tasks):
        await each
    await asyncio.wait_for(note(places, "last"), 5)


def run(code: Callable[[Places], Any], factory: Any = None) -> Places:
    places: Places = {}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        Factory(loop, branches=True)
        if factory is not None:
            loop.set_task_factory(factory)
            assert loop.get_task_factory() is factory
        await begin(loop, code(places), contextvars.copy_context())

    asyncio.run(main())
    return places


def plain(loop: Any, code: Any) -> Any:
    """As authors write them who know of no context."""
    return asyncio.Task(code, loop=loop)


FACTORIES = [None, plain, getattr(asyncio, "eager_task_factory", plain)]


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_way_to_a_task_is_the_same_whatever_the_timing(factory: Any) -> None:
    runs = [run(program, factory) for _ in range(20)]
    assert all(each == runs[0] for each in runs)
    assert len(set(runs[0].values())) == len(runs[0]) == 16


def test_tasks_that_share_a_context_of_the_author_have_ways_of_their_own() -> None:
    async def shares(places: Places) -> None:
        context = contextvars.copy_context()
        await asyncio.gather(*(asyncio.create_task(note(places, n), context=context) for n in range(3)))
        await note(places, "main")

    assert run(shares) == {0: "/note.0:draw.0", 1: "/note.1:draw.0", 2: "/note.2:draw.0", "main": ":draw.0"}


def test_what_a_callback_or_a_thread_starts_belongs_to_the_call() -> None:
    async def starts(places: Places) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(lambda: done.set_result(loop.create_task(note(places, "callback"))))
        await (await done)
        await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(note(places, "thread"), loop).result())

    assert set(run(starts)) == {"callback", "thread"}


async def test_tasks_that_have_ended_are_not_kept() -> None:
    loop = asyncio.get_running_loop()
    Factory(loop, branches=True)

    async def makes() -> None:
        for _ in range(1000):
            await asyncio.create_task(asyncio.sleep(0))

    task = begin(loop, makes(), contextvars.copy_context())
    await task
    branch = branch_of(task)
    assert branch is not None
    assert branch._tasks is not None
    assert len(branch._tasks) <= 64
