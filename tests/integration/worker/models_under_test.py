"""Models that the worker's tests run: one for each way to write one, and ways to misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

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
