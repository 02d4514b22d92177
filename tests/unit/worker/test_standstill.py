"""Which calls stand still until one of their steps ends, and which work, by what their tasks wait for."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import copy_context
from typing import Any

import anyio
import pytest

from longrun.models.steps.branch import branch_of
from longrun.worker.runner.branches import Factory, begin
from longrun.worker.runner.standstill import RUNS, STANDS, TIMER, UNKNOWN, WORKS, Look

Program = Callable[["Steps"], Awaitable[Any]]


class Step(asyncio.Future[Any]):
    """That of a step."""


class Steps:
    """What programs wait for."""

    def __init__(self) -> None:
        self.end, self.foreign = asyncio.Event(), asyncio.get_running_loop().create_future()
        self.release = threading.Event()

    async def run(self) -> Any:
        return await Step()

    def block(self) -> None:
        self.release.wait(20)


async def alone(steps: Steps) -> None:
    await steps.run()


async def side_by_side(steps: Steps) -> None:
    await asyncio.gather(steps.run(), steps.run())


async def nested(steps: Steps) -> None:
    await asyncio.gather(asyncio.gather(steps.run(), steps.run()), side_by_side(steps))


async def in_a_group(steps: Steps) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(steps.run())
        group.create_task(side_by_side(steps))


async def with_wait(steps: Steps) -> None:
    await asyncio.wait([asyncio.ensure_future(steps.run()), asyncio.ensure_future(steps.run())], timeout=60)


async def as_they_complete(steps: Steps) -> None:
    for each in asyncio.as_completed([steps.run(), steps.run()]):
        await each


async def wait_for(steps: Steps) -> None:
    await asyncio.wait_for(steps.run(), 60)


async def wait_for_a_group(steps: Steps) -> None:
    await asyncio.wait_for(in_a_group(steps), 60)


async def under_a_timeout(steps: Steps) -> None:
    async with asyncio.timeout(60):
        await side_by_side(steps)


async def through_a_queue(steps: Steps) -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue(1)

    async def work() -> None:
        while True:
            await queue.get()
            await steps.run()

    workers = [asyncio.create_task(work()) for _ in range(2)]
    for n in range(5):
        await queue.put(n)
    await asyncio.gather(*workers)


async def at_an_event(steps: Steps) -> None:
    event = asyncio.Event()

    async def set_it() -> None:
        await steps.run()
        event.set()

    task = asyncio.create_task(set_it())
    await event.wait()
    await task


async def at_a_semaphore(steps: Steps) -> None:
    limit = asyncio.Semaphore(2)

    async def one() -> None:
        async with limit:
            await steps.run()

    await asyncio.gather(*(one() for _ in range(6)))


async def at_a_condition(steps: Steps) -> None:
    condition = asyncio.Condition()

    async def waits() -> None:
        async with condition:
            await condition.wait()

    await asyncio.gather(waits(), steps.run())


async def shielded(steps: Steps) -> None:
    await asyncio.shield(steps.run())


async def in_a_generator(steps: Steps) -> None:
    async def results() -> AsyncIterator[Any]:
        yield 1
        await asyncio.gather(steps.run(), shielded(steps))

    async for _ in results():
        pass


async def with_anext(steps: Steps) -> None:
    async def results() -> AsyncIterator[Any]:
        await at_an_event(steps)
        yield 1

    await anext(results(), None)


async def with_anyio(steps: Steps) -> None:
    limit = anyio.Semaphore(1)

    async def one() -> None:
        async with limit:
            await steps.run()

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(one)


async def anyio_stream(steps: Steps) -> None:
    send, receive = anyio.create_memory_object_stream[Any](0)

    async def one() -> None:
        async with send:
            await send.send(await steps.run())

    async with anyio.create_task_group() as group, receive:
        group.start_soon(one)
        async for _ in receive:
            pass


async def a_thread(steps: Steps) -> None:
    await asyncio.to_thread(steps.block)


async def a_thread_of_a_pool(steps: Steps) -> None:
    await asyncio.get_running_loop().run_in_executor(None, steps.block)


async def a_thread_with_wait(steps: Steps) -> None:
    await asyncio.wait([asyncio.get_running_loop().run_in_executor(None, steps.block)])


async def a_thread_with_wait_for(steps: Steps) -> None:
    await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, steps.block), 60)


async def a_thread_shielded(steps: Steps) -> None:
    await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, steps.block))


async def a_thread_of_anyio(steps: Steps) -> None:
    await anyio.to_thread.run_sync(steps.block)


async def a_socket(steps: Steps) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader, writer = await asyncio.open_connection(*server.getsockname())
        try:
            await reader.read(1)
        finally:
            writer.close()


async def a_socket_of_anyio(steps: Steps) -> None:
    """As httpx reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with await anyio.connect_tcp(*server.getsockname()) as stream:
            with anyio.fail_after(60):
                await stream.receive()


async def a_program(steps: Steps) -> None:
    process = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        await process.wait()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()


async def turns(steps: Steps) -> None:
    while True:  # noqa: ASYNC110 - it is to turn
        await asyncio.sleep(0)


async def naps(steps: Steps) -> None:
    await asyncio.sleep(60)


async def ticks_in_a_group(steps: Steps) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(naps(steps))


async def a_future(steps: Steps) -> None:
    await steps.foreign


async def a_strange_task(steps: Steps) -> None:
    await strange


def is_step(future: Any) -> bool:
    return isinstance(future, Step)


strange: Any = None
STAND: list[Program] = [
    alone,
    side_by_side,
    nested,
    in_a_group,
    with_wait,
    as_they_complete,
    wait_for,
    wait_for_a_group,
    under_a_timeout,
    through_a_queue,
    at_an_event,
    at_a_semaphore,
    at_a_condition,
    shielded,
    in_a_generator,
    with_anext,
    with_anyio,
    anyio_stream,
]
WORK: list[Program] = [
    a_thread,
    a_thread_of_a_pool,
    a_thread_with_wait,
    a_thread_with_wait_for,
    a_thread_shielded,
    a_thread_of_anyio,
    a_socket,
    a_socket_of_anyio,
    a_program,
    turns,
]
OTHERS: list[tuple[Program, float]] = [(naps, TIMER), (ticks_in_a_group, TIMER), (a_future, UNKNOWN), (a_strange_task, UNKNOWN)]


async def patience_with(*programs: Program, wait: float = 0.05) -> float:
    """With these side by side in one call."""
    global strange  # noqa: PLW0603 - as a model has such a thing
    loop, steps = asyncio.get_running_loop(), Steps()
    Factory(loop, branches=True)
    strange = loop.create_task(steps.end.wait())

    async def main() -> None:
        await asyncio.gather(*(program(steps) for program in programs))

    task = begin(loop, main(), copy_context())
    await asyncio.sleep(wait)
    branch = branch_of(task)
    assert branch is not None
    tasks = [task]
    branch.watch(tasks.append)
    look = Look(lambda task: task in tasks, is_step)
    try:
        return max(look.patience(each) for each in tasks)
    finally:
        steps.release.set()
        for each in (*tasks, strange):
            each.cancel()
        await asyncio.wait([*tasks, strange])


@pytest.mark.parametrize("program", STAND, ids=lambda program: program.__name__)
async def test_code_whose_tasks_wait_for_steps_and_for_each_other_stands_still(program: Program) -> None:
    assert await patience_with(program) == STANDS


@pytest.mark.parametrize("program", WORK, ids=lambda program: program.__name__)
async def test_code_with_a_branch_that_works_does_not(program: Program) -> None:
    expected = RUNS if program is turns else WORKS
    assert await patience_with(program) == expected
    assert await patience_with(alone, program) == expected


@pytest.mark.parametrize(("program", "expected"), OTHERS, ids=lambda program: getattr(program, "__name__", None))
async def test_a_timer_and_what_nobody_knows_must_last(program: Program, expected: float) -> None:
    assert await patience_with(side_by_side, program) == expected


async def test_a_task_that_has_not_begun_or_is_about_to_go_on_runs() -> None:
    step = Step()

    async def one() -> None:
        await step

    task = asyncio.create_task(one())
    look = Look(lambda _: False, is_step)
    assert look.patience(task) == RUNS
    await asyncio.sleep(0)
    assert look.patience(task) == STANDS
    step.set_result(None)
    assert look.patience(task) == RUNS
    await task
