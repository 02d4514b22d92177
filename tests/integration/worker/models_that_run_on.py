"""Models that do not end by themselves: one for each way to be stopped, or not to be. They leave lines in the file RUN_ON_LOG.

What a test needs only as long as something else goes on is `held`: it ends when the test lets it go, not when some seconds are over.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from longrun import Job, Model, Retry, SoftTimeLimit, batched, model


def note(what: str, job: Job) -> None:
    with Path(os.environ["RUN_ON_LOG"]).open("a") as log:
        log.write(f"{what} {job.id} {job.attempt} {os.getpid()}\n")


def let_go(job: Job) -> bool:
    """Whether the test has let the job go, with a file of its name beside the log."""
    return Path(os.environ["RUN_ON_LOG"]).with_name(job.id).exists()


# -- sync: the functions of one queue share a runner -----------------------------------------------------------------------


@model(queue="sync")
def looks(job: Job) -> None:
    """Looks at its flag."""
    note("begin", job)
    while True:
        time.sleep(0.01)
        job.check()


@model(queue="sync")
def loops(job: Job) -> None:
    """An endless loop of Python."""
    note("begin", job)
    try:
        while True:
            pass
    finally:
        note("left", job)


@model(queue="sync")
def sleeps(job: Job) -> None:
    """A call that does not come back, and leaves the GIL to others."""
    note("begin", job)
    time.sleep(1000)


@model(queue="sync")
def holds(job: Job) -> None:
    """A call of C that does not come back, and keeps the GIL."""
    note("begin", job)
    ctypes.PyDLL(None).sleep(1000)


@model(queue="sync")
def swallows(job: Job) -> None:
    """Catches whatever is raised in it, and goes on."""
    note("begin", job)
    while True:
        with suppress(BaseException):
            time.sleep(0.01)
            job.check()


@model(queue="sync")
def has_a_child(job: Job) -> None:
    """Waits for a process that it has started."""
    note("begin", job)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    job.log(str(child.pid))
    child.wait()


@model(queue="sync")
def yields(job: Job, pause: float = 0.01) -> Iterator[int]:
    """Yields for ever."""
    note("begin", job)
    n = 0
    while True:
        time.sleep(pause)
        yield n
        n += 1


@model(queue="sync")
def yields_once(how: str, job: Job) -> Iterator[str]:
    """Yields, and then no more."""
    note("begin", job)
    yield "first"
    if how == "loops":
        while True:
            pass
    time.sleep(1000)


class Item(BaseModel):
    how: str = "loops"


@model(queue="sync")
@batched(max_size=4, max_wait_ms=500)
def many(items: list[Item], jobs: list[Job]) -> list[int]:
    """A batch that does not end, or takes a while."""
    for job in jobs:
        note("begin", job)
    how = items[0].how
    if how == "looks":
        while True:
            time.sleep(0.01)
            jobs[-1].check()
    if how == "loops":
        while True:
            pass
    if how == "partial":
        with suppress(SoftTimeLimit):
            while True:
                time.sleep(0.01)
                jobs[0].check()
        for job in jobs:
            job.log("in peace")
        return [len(items)] * len(items)
    while how == "held" and not let_go(jobs[0]):
        time.sleep(0.01)
    if how != "held":
        time.sleep(float(how) if how[0].isdigit() else 1000)
    return [len(items)] * len(items)


# -- sync, and what it returns when its time is over ------------------------------------------------------------------------


@model(queue="sync")
def partial(how: str, job: Job) -> str:
    """Returns what it has; takes a moment for that, and reports it."""
    done = "nothing"
    with suppress(SoftTimeLimit):
        while True:
            done = "something"
            if how == "looks":
                time.sleep(0.01)
                job.check()
    for _ in range(50):
        time.sleep(0.01)
        job.progress(0.5, "saving")
    return done


@model(queue="sync")
def partial_words(job: Job) -> Iterator[str]:
    """Says a last word."""
    try:
        while True:
            time.sleep(0.01)
            yield "word "
    except SoftTimeLimit:
        yield "and "
        yield "so on"


@model(queue="sync")
def in_time(job: Job) -> str:
    """Ends by itself a moment after its time was over, without having noticed that."""
    time.sleep(1.15)
    return "whole"


@model(queue="sync", retry=Retry(3, backoff=0.05))
def at_second_try(job: Job) -> int:
    """Sleeps for ever at its first attempt."""
    while job.attempt == 1:
        time.sleep(1000)
    return job.attempt


# -- async ----------------------------------------------------------------------------------------------------------------


@model(queue="aio")
async def aio_waits(job: Job, seconds: float = 1000, catches: bool = False, held: bool = False) -> str:
    """Waits; may catch its time limit and return what it has, after a moment."""
    note("begin", job)
    try:
        while held and not let_go(job):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0 if held else seconds)
    except SoftTimeLimit:
        if not catches:
            raise
        await asyncio.sleep(0.5)
        job.log("in peace")
        return "something"
    finally:
        note("left", job)
    return "slept"


@model(queue="aio")
async def aio_groups(job: Job) -> str:
    """Waits for tasks of its own, all of which must end with it."""
    note("begin", job)

    async def part(name: str) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            note(f"left {name}", job)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(part("a"))
            group.create_task(part("b"))
    except SoftTimeLimit:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0.01))
        return "grouped"
    return "never"


@model(queue="aio")
async def aio_blocks(job: Job, how: str = "sleeps") -> None:
    """Does not let the event loop turn."""
    note("begin", job)
    while True:
        if how == "looks":
            job.check()
        time.sleep(0.01 if how == "looks" else 1000)  # noqa: ASYNC251


@model(queue="aio")
async def aio_swallows(job: Job) -> None:
    """Catches whatever is raised in it, and goes on."""
    note("begin", job)
    while True:
        with suppress(BaseException):
            await asyncio.sleep(0.01)


@model(queue="aio")
async def aio_yields(job: Job, catches: bool = False) -> AsyncIterator[str]:
    """Yields, waits, and may say a last word."""
    note("begin", job)
    yield "first "
    try:
        await asyncio.sleep(1000)
    except SoftTimeLimit:
        if not catches:
            raise
        yield "last"


@model(queue="aio", concurrency=1)
@batched(max_size=4, max_wait_ms=500)
async def aio_many(items: list[Item], jobs: list[Job]) -> list[int]:
    """A batch that waits."""
    for job in jobs:
        note("begin", job)
    how = items[0].how
    while how == "held" and not let_go(jobs[0]):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    if how != "held":
        await asyncio.sleep(float(how) if how[0].isdigit() else 1000)
    return [len(items)] * len(items)


@model(queue="aio")
async def aio_cancels_itself() -> Any:
    """An `asyncio.CancelledError` that nobody asked for."""
    task = asyncio.ensure_future(asyncio.sleep(1000))
    task.cancel()
    return await task


@model(queue="aio", delivery="at_most_once")
async def pays(job: Job, seconds: float) -> str:
    """Must not begin twice."""
    note("begin", job)
    await asyncio.sleep(seconds)
    return "paid"


# -- threads: neighbours that do not share an event loop ----------------------------------------------------------------------


class Threads(Model, queue="threads", concurrency=4):
    """Four at once, on threads. When it looks, it saves what it has after its soft limit, until it is let go."""

    def predict(self, job: Job, seconds: float = 0, looks: bool = False, held: bool = False) -> int:
        note("begin", job)
        while held and not let_go(job):
            time.sleep(0.01)
        end = time.monotonic() + seconds
        try:
            while looks and time.monotonic() < end:
                time.sleep(0.01)
                job.check()
        except SoftTimeLimit:
            end = 0
            while not let_go(job):
                time.sleep(0.01)
        time.sleep(max(0.0, end - time.monotonic()))
        return os.getpid()
