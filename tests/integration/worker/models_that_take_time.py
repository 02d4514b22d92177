"""Models that spend time in their own code, and beside it. Each visit of their code leaves a line in the file CODE_LOG: job, begin, end.

A `Slow` input takes half a second to be read, and a `Slow` output as long to be written: neither is the model's code.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, field_serializer, field_validator

from longrun import Job, Retry, batched, model

BESIDE = 0.5


class Slow(BaseModel):
    text: str = ""

    @field_validator("text")
    @classmethod
    def _takes_its_time(cls, text: str) -> str:
        if "read" in text:
            time.sleep(BESIDE)
        return text

    @field_serializer("text")
    def _takes_its_time_too(self, text: str) -> str:
        if "written" in text:
            time.sleep(BESIDE)
        return text


class Dies(BaseException):
    """The process is to end."""


@contextmanager
def noted(*jobs: Job) -> Iterator[None]:
    """Notes when the code in here began, and when it ended."""
    begin = time.monotonic()
    _note("begin", jobs, begin, begin)
    try:
        yield
    finally:
        _note("visit", jobs, begin, time.monotonic())


def _note(what: str, jobs: tuple[Job, ...], begin: float, end: float) -> None:
    with Path(os.environ["CODE_LOG"]).open("a") as log:
        log.writelines(f"{what} {job.id} {job.attempt} {begin} {end}\n" for job in jobs)


def _work(seconds: float, how: str, job: Job) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if how == "blocks":
            time.sleep(seconds)
            return
        if how == "checks":
            job.check()
        time.sleep(0.005)
    if how == "raises" or (how == "raises once" and job.attempt == 1):
        raise ValueError("as it was asked to")
    if how == "dies" and job.attempt == 1:
        raise Dies
    if how == "has no memory" and job.attempt == 1 and not Path(os.environ["CODE_LOG"]).with_name(job.id).exists():
        Path(os.environ["CODE_LOG"]).with_name(job.id).touch()
        raise MemoryError


@model(queue="sync", concurrency=2, retry=Retry(3, backoff=0.5))
def works(seconds: float, job: Job, how: str = "", slow: Slow | None = None) -> Slow:
    """One job beside another."""
    try:
        with noted(job):
            _work(seconds, how, job)
    except Dies:
        os._exit(3)
    return slow or Slow()


@model(queue="row")
def rows(seconds: float, job: Job, how: str = "") -> None:
    """One job after the other; short ones are sent ahead."""
    with noted(job):
        _work(seconds, how, job)


@model(queue="sync")
def yields(seconds: float, job: Job) -> Iterator[Slow]:
    """Its values take long to be written."""
    for _ in range(2):
        with noted(job):
            time.sleep(seconds / 2)
        yield Slow(text="written")


@model(queue="aio", concurrency=20)
async def waits(seconds: float, job: Job, how: str = "", slow: Slow | None = None) -> Slow:
    """Side by side on one event loop."""
    with noted(job):
        if how == "blocks":
            time.sleep(seconds)  # noqa: ASYNC251
        else:
            await asyncio.sleep(seconds)
    return slow or Slow()


@model(queue="aio")
async def waits_and_yields(seconds: float, job: Job) -> AsyncIterator[Slow]:
    """Its values take long to be written."""
    for _ in range(2):
        with noted(job):
            await asyncio.sleep(seconds / 2)
        yield Slow(text="written")


class Item(BaseModel):
    seconds: float
    how: str = ""
    slow: Slow = Slow()


@model(queue="many")
@batched(max_size=4, max_wait_ms=500)
def many(items: list[Item], jobs: list[Job]) -> list[Any]:
    """A call takes as long as its longest item."""
    with noted(*jobs):
        time.sleep(max(item.seconds for item in items))
        if any(item.how == "raises" for item in items):
            raise ValueError("as it was asked to")
        if len(items) > 2 and any(item.how == "is large" for item in items):
            raise MemoryError
    return [item.slow.text for item in items]
