"""Models that the worker's tests run: one for each way to write one, and ways to misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from longrun import Failure, Job, Model, Retry, RetryAfter, batched, model


class Noop(Model):
    def predict(self, x: int = 0) -> int:
        return x


class Sleeper(Model, timeout=20):
    """Sleeps in small pieces; `deaf` never looks at its job, `stubborn` swallows what it can."""

    def load(self, device: str) -> None:
        self.device = device

    def predict(self, seconds: float, job: Job, deaf: bool = False, stubborn: bool = False) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                time.sleep(0.01)
                if not deaf:
                    job.progress(1 - max(0.0, end - time.monotonic()) / seconds, "sleeping")
            except BaseException:
                if not stubborn:
                    raise
        return self.device


class Moody(Model, queue="moody"):
    """Does not load until the file named by MOODY exists."""

    def load(self, device: str) -> None:
        if not Path(os.environ.get("MOODY", __file__)).exists():
            raise OSError("no weights here")

    def predict(self) -> str:
        return "loaded"


class Crasher(Model):
    def predict(self, how: str, marker: str = "") -> str:
        if marker:
            if Path(marker).exists():
                return "survived"
            Path(marker).touch()
        if how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(10)  # another thread may be the one that gets it
        os._exit(3)


class Story(Model):
    def predict(self, n: int, job: Job, fail_at: int = -1) -> Iterator[str]:
        for i in range(n):
            if i == fail_at:
                raise OSError("the pen broke")
            job.progress(i / n, "writing")
            yield f"word{i} "


@model
async def aio_story(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(0)
        yield i


class Ask(BaseModel):
    text: str


class Lengths(Model, queue="gpu"):
    """Returns (length, size of the batch) of each text."""

    @batched(max_size=8, max_wait_ms=50)
    def predict(self, asks: list[Ask], jobs: list[Job]) -> list[list[int]]:
        if any(ask.text == "short list" for ask in asks):
            return []
        if any(ask.text == "bomb" for ask in asks):
            raise ValueError("bomb")
        return [Failure("Too long.") if len(ask.text) > 50 else [len(ask.text), len(asks)] for ask in asks]  # type: ignore[misc]


@model(concurrency=50, retry=Retry(3, backoff=0.02, on=(OSError,)))
async def shout(text: str, job: Job, seconds: float = 0.0, failures: int = 0) -> str:
    await asyncio.sleep(seconds)
    if job.attempt <= failures:
        raise OSError("not yet")
    return text.upper()


@model(retry=Retry(3))
def after_a_while(job: Job) -> int:
    if job.attempt == 1:
        raise RetryAfter(0.3, "The provider asked to wait.")
    return job.attempt


@model
def fail(kind: str) -> float:
    """Fails in the way asked for."""
    if kind == "failure":
        raise Failure("You may read this.")
    if kind == "exit":
        raise SystemExit(1)
    if kind == "memory":
        raise MemoryError
    if kind == "nan":
        return float("nan")
    if kind == "type":
        return "no number"  # type: ignore[return-value]
    if kind == "large":
        return 10.0**300
    raise ValueError("secret text in /home/somebody/model.py")


@model
def usage(job: Job) -> None:
    job.usage(tokens_in=3)
    job.usage(tokens_in=4, cost_usd=0.5)
    job.log("counted")


def die(how: str, megabytes: int = 0) -> None:
    """End this process in the way asked for, after holding so much memory."""
    held = bytearray(megabytes << 20)
    held[::4096] = b"x" * len(held[::4096])
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSEGV if how == "segfault" else signal.SIGKILL)
    time.sleep(10)


class Quick(Model, queue="poison"):
    """Takes no time, or kills its runner."""

    def predict(self, x: int = 0, how: str = "", megabytes: int = 0) -> int:
        if how:
            die(how, megabytes)
        return x


@model(queue="poison", concurrency=200)
async def chat(x: int, seconds: float = 0.0, how: str = "") -> int:
    """Waits as a call of an LLM does, or kills its runner."""
    await asyncio.sleep(seconds)
    if how:
        die(how)
    return x


class Item(BaseModel):
    x: int
    how: str = ""


class Many(Model, queue="poison"):
    """A batch, one item of which may kill the runner."""

    @batched(max_size=8, max_wait_ms=100)
    def predict(self, items: list[Item]) -> list[int]:
        for item in items:
            if item.how:
                die(item.how)
        return [item.x for item in items]


@model(concurrency=50, retry=Retry(3, backoff=0.02))
async def shouts(text: str, seconds: float = 0.0) -> str:
    """As `shout`, with every Exception tried again, a timeout too."""
    await asyncio.sleep(seconds)
    return text.upper()


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("I say nothing")


@model(retry=Retry(2, on=(RetryAfter,)))
def awkward(kind: str) -> str:
    """Raises what is hard to write down."""
    if kind == "object":
        raise Failure(ValueError("inner"))  # type: ignore[arg-type]
    if kind == "surrogate":
        raise Failure("half \ud800 pair")
    if kind == "silent":
        raise Silent
    raise RetryAfter(float("inf"))


class Picky(Model, queue="poison", retry=Retry(3, backoff=0)):
    """At its first attempt an item may be told to come back; says the attempt, the size of the batch, and the key for upstreams."""

    @batched(max_size=4, max_wait_ms=500)
    def predict(self, items: list[Item], jobs: list[Job]) -> list[list[Any]]:
        return [
            RetryAfter(0.3, "busy") if item.how and job.attempt == 1 else [job.attempt, len(items), job.idempotency_key]  # type: ignore[misc]
            for item, job in zip(items, jobs, strict=True)
        ]
