"""The plain programs as models of every kind, and what the main thread, the loading thread and the event loop are for them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import decimal
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from plain_programs import PROGRAMS, child_of, child_returns, context_is_clean, tenant
from pydantic import BaseModel

from longrun import Job, Model, batched, model

decimal.getcontext().prec = 41


@model
def program(name: str, job: Job) -> Any:
    return PROGRAMS[name](job)


@model
def program_generator(name: str, job: Job) -> Iterator[Any]:
    tenant.set(tenant.get() + "!")
    yield tenant.get()
    tenant.set("nobody")
    said = PROGRAMS[name](job)
    if said != "from the child":
        yield said


class Ask(BaseModel):
    name: str


@model
@batched(max_size=2, max_wait_ms=0)
def program_batch(asks: list[Ask], jobs: list[Job]) -> list[Any]:
    if len(asks) > 1:
        # The items run again one by one, each call in a context of its own.
        tenant.set("left by the call that raised")
        raise ValueError("one by one")
    return [PROGRAMS[ask.name](job) for ask, job in zip(asks, jobs, strict=True)]


@model
async def program_async(name: str, job: Job) -> Any:
    return PROGRAMS[name](job)


@model
async def program_async_generator(name: str, job: Job) -> AsyncIterator[Any]:
    tenant.set(tenant.get() + "!")
    yield tenant.get()
    await asyncio.sleep(0)
    tenant.set("nobody")
    said = PROGRAMS[name](job)
    if said != "from the child":
        yield said


@model
@batched(max_size=2, max_wait_ms=0)
async def program_async_batch(asks: list[Ask], jobs: list[Job]) -> list[Any]:
    await asyncio.sleep(0)
    if len(asks) > 1:
        tenant.set("left by the call that raised")
        raise ValueError("one by one")
    return [PROGRAMS[ask.name](job) for ask, job in zip(asks, jobs, strict=True)]


# -- the main thread --------------------------------------------------------------------------------------------------------------


class TookTooLong(Exception):
    """Raised by a handler of SIGALRM."""


def too_long(*_: Any) -> None:
    raise TookTooLong


def on_the_main_thread(how: str, job: Job) -> Any:
    if threading.current_thread() is not threading.main_thread():
        return "not on the main thread"
    if how == "alarm":
        signal.signal(signal.SIGALRM, too_long)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            while True:
                job.progress(0.5)
        except TookTooLong:
            return "fine"
    if how == "loop":
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        said = asyncio.get_event_loop().run_until_complete(asyncio.sleep(0, "fine"))
        asyncio.set_event_loop(None)
        loop.close()
        return said
    if how == "leaves an alarm":
        signal.signal(signal.SIGALRM, too_long)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
    if how == "context":
        return context_is_clean(job)
    if how == "child":
        return child_returns(job)
    if how == "exits":
        sys.exit("a reason")
    return "fine"


@model(main_thread=True)
def main_function(how: str, job: Job) -> Any:
    return on_the_main_thread(how, job)


@model(main_thread=True)
def main_generator(how: str, job: Job) -> Iterator[Any]:
    said = on_the_main_thread(how, job)
    if said != "from the child":
        yield said


@model(main_thread=True)
def needs_the_main_thread_and_has_it(number: int) -> str:
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    return "fine"


@model
def needs_the_main_thread(how: str) -> None:
    if how == "signal":
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    elif how == "loop":
        asyncio.get_event_loop()
    elif how == "library":
        raise RuntimeError("NSWindow drag regions should only be invalidated on the Main Thread!")


class MainBatch(Model, main_thread=True):
    def load(self, device: str) -> None:
        self.here = threading.current_thread()
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)

    @batched(max_size=4)
    def predict(self, asks: list[Ask]) -> list[str]:
        here = threading.current_thread() is self.here is threading.main_thread()
        return ["fine" if here else "elsewhere" for _ in asks]


# -- what load makes belongs to the thread that runs jobs ---------------------------------------------------------------------------

local = threading.local()
local.imported = "on this thread"
bound: contextvars.ContextVar[str] = contextvars.ContextVar("bound", default="")


class Database(Model):
    """sqlite3 refuses a connection on another thread than that which has made it."""

    def load(self, device: str) -> None:
        self.forked = os.fork()
        if self.forked == 0:
            return
        self.status = child_of(self.forked)
        self.database = sqlite3.connect(":memory:")
        local.loaded = "too"
        bound.set("in load")

    def warmup(self) -> None:
        bound.set("in warmup")

    def predict(self, number: int) -> str:
        (found,) = self.database.execute("select ? + 1", (number,)).fetchone()
        return f"{found} {local.imported} {local.loaded} {bound.get()} {self.status}"


class Loop(Model):
    """Async all the way: what load makes of the loop and of its thread is that of the jobs."""

    async def load(self, device: str) -> None:
        self.loop, self.thread = asyncio.get_running_loop(), threading.current_thread()
        bound.set("in load")

    async def predict(self, number: int) -> str:
        same = asyncio.get_running_loop() is self.loop and threading.current_thread() is self.thread
        return f"{same} {bound.get()}"


# -- in the event loop ------------------------------------------------------------------------------------------------------------


async def exits(code: Any = "a reason") -> None:
    await asyncio.sleep(0)
    sys.exit(code)


async def in_a_loop(how: str) -> Any:  # noqa: PLR0912 - a list of ways
    loop, current = asyncio.get_running_loop(), asyncio.current_task()
    assert current is not None
    if how == "gather":
        await asyncio.gather(asyncio.sleep(1), exits())
    elif how == "interrupt":
        await asyncio.gather(asyncio.sleep(1), interrupts())
    elif how == "task group":
        async with asyncio.TaskGroup() as group:
            group.create_task(exits())
            group.create_task(asyncio.sleep(1))
    elif how == "task":
        task = asyncio.create_task(exits(3))
        await asyncio.wait([task])
    elif how == "callback":
        loop.call_soon(sys.exit, 3)
        loop.call_later(0.01, sys.exit, 4)
        await asyncio.sleep(0.05)
    elif how == "done callback":
        task = asyncio.create_task(asyncio.sleep(0))
        task.add_done_callback(sys.exit)
        await asyncio.sleep(0.05)
    elif how == "finalizer":
        generator = finalized()
        await anext(generator)
        del generator
        await asyncio.sleep(0.05)
    elif how == "stop":
        loop.stop()
        await asyncio.sleep(0.05)
    elif how == "thread":
        with contextlib.suppress(SystemExit):
            await asyncio.to_thread(sys.exit, 3)
    elif how == "thread raises":
        await asyncio.to_thread(sys.exit, 3)
    elif how == "cancel all":
        for task in asyncio.all_tasks():
            if task is not current:
                task.cancel()
    elif how == "wait for all":
        others = [asyncio.create_task(asyncio.sleep(0.01)) for _ in range(3)]
        await asyncio.gather(*asyncio.all_tasks() - {current})
        if not all(task.done() for task in others):
            return "not all"
    elif how == "cancel itself":
        current.cancel()
        await asyncio.sleep(60)
    elif how == "cancel all and itself":
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(60)
    elif how == "shut down":
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()
    elif how == "subprocess":
        process = await asyncio.create_subprocess_exec("sleep", "300")
        process.terminate()
        status = await process.wait()
        return "fine" if status == -signal.SIGTERM else f"status {status}"
    elif how.startswith("fork"):
        return await forks(how)
    return "fine"


async def interrupts() -> None:
    await asyncio.sleep(0)
    raise KeyboardInterrupt


async def finalized() -> AsyncIterator[int]:
    try:
        yield 1
    finally:
        sys.exit(3)


async def forks(how: str) -> Any:
    async def fork() -> int:
        pid = os.fork()
        if pid == 0 and how == "fork awaits":
            await asyncio.sleep(60)
        if pid == 0 and how == "fork raises":
            raise ValueError("in the child")
        if pid == 0 and how == "fork task exits":
            sys.exit(9)
        return pid

    pid = await (asyncio.create_task(fork()) if "task" in how else fork())
    if pid == 0:
        return "from the child"
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    code = os.waitstatus_to_exitcode(status)
    wanted = {"fork": 0, "fork awaits": 1, "fork raises": 1, "fork task": 1, "fork task exits": 9}[how]
    return "fine" if code == wanted else f"status {code}"


@model
async def loop_program(how: str) -> Any:
    return await in_a_loop(how)


@model
async def loop_generator(how: str) -> AsyncIterator[Any]:
    yield 1
    said = await in_a_loop(how)
    if said != "from the child":
        yield said


@model
@batched(max_size=1, max_wait_ms=0)
async def loop_batch(asks: list[Ask]) -> list[Any]:
    return [await in_a_loop(ask.name) for ask in asks]


@model
async def neighbour(seconds: float) -> str:
    """Waits in tasks of its own."""
    await asyncio.gather(*[asyncio.sleep(seconds) for _ in range(3)])
    return await asyncio.to_thread(lambda: "fine")
