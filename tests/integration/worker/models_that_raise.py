"""One model of each kind that raises what it is asked to, and innocent work beside it in the same runner."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from nasty_exceptions import NASTY
from pydantic import BaseModel

from longrun import Job, Retry, batched, model

#: Innocent jobs last until this file is there.
DONE = Path(os.environ.get("NASTY_DONE", "/nowhere"))


def raised(what: str) -> int:
    if what:
        NASTY[what]()
    return os.getpid()


async def innocent(what: str) -> int:
    """An innocent job is there from the first to the last of the others."""
    while not what and not DONE.exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.02)
    return os.getpid()


@model(concurrency=1)
def raises(what: str) -> int:
    return raised(what)


@model(concurrency=20)
async def raises_async(what: str) -> int:
    raised(what)
    return await innocent(what)


@model(concurrency=1)
def raises_yielding(what: str) -> Iterator[int]:
    yield 1
    yield raised(what)


@model(concurrency=20)
async def raises_yielding_async(what: str) -> AsyncIterator[int]:
    yield 1
    raised(what)
    yield await innocent(what)


class Ask(BaseModel):
    what: str = ""


@model
@batched(max_size=6, max_wait_ms=200)
def raises_batched(asks: list[Ask]) -> list[Any]:
    return [raised(ask.what) for ask in asks]


@model
@batched(max_size=6, max_wait_ms=200)
async def raises_batched_async(asks: list[Ask]) -> list[Any]:
    return [raised(ask.what) for ask in asks]


@model
@batched(max_size=6, max_wait_ms=200)
def returns_batched(asks: list[Ask]) -> list[Any]:
    """What was raised is in the list that is returned."""
    outputs: list[Any] = []
    for ask in asks:
        try:
            outputs.append(raised(ask.what))
        except BaseException as error:
            outputs.append(error)
    return outputs


@model(retry=Retry(2, backoff=0))
def retried(what: str) -> int:
    return raised(what)


@model(retry=Retry(2, backoff=0))
async def retried_async(what: str) -> int:
    return raised(what)


@model(retry=Retry(2, backoff=0, on=(SystemExit,)))
async def exits_retried(what: str, job: Job) -> int:
    return raised(what) if job.attempt == 1 else job.attempt


@model(concurrency=20)
async def orphans(what: str) -> int:
    """What is raised in a task, in a callback and in a thread that nobody waits for."""

    async def alone() -> None:
        raised(what)

    task = asyncio.create_task(alone())
    await asyncio.sleep(0.01)
    del task
    threading.Thread(target=raised, args=(what,)).start()
    asyncio.get_running_loop().call_soon(raised, what)
    gc.collect()
    return os.getpid()
