"""One model of each kind (sync, async, generator, batched) that can be told to misbehave. Each run leaves a line in the file CHAOS_LOG."""

import asyncio
import ctypes
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from longrun import Job, Model, batched


def note(what: str, job: Job) -> None:
    """One line in one write, so that lines of several processes never mix."""
    log = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(log, f"{what} {job.id} {job.attempt} {os.getpid()}\n".encode())
    finally:
        os.close(log)


def proof(text: str, job: Job) -> dict[str, Any]:
    return {"digest": hashlib.sha256(text.encode()).hexdigest(), "attempt": job.attempt}


def misbehave(how: str, seconds: float, job: Job) -> None:
    """Do what the text names; anything else just takes its time, and looks at its flag."""
    if how == "loops":
        while True:
            pass
    if how == "holds the GIL":
        ctypes.PyDLL(None).sleep(1000)
    if how == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(10)
    if how == "sleeps":
        time.sleep(1000)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)
        job.check()


class Plain(Model):
    def predict(self, text: str, seconds: float, job: Job) -> dict[str, Any]:
        note("begin", job)
        misbehave(text, seconds, job)
        return proof(text, job)


class Waiting(Model, concurrency=20):
    async def predict(self, text: str, seconds: float, job: Job) -> dict[str, Any]:
        note("begin", job)
        if text in ("loops", "holds the GIL", "crashes"):
            misbehave(text, seconds, job)
        await asyncio.sleep(1000 if text == "sleeps" else seconds)
        return proof(text, job)


class Telling(Model):
    def predict(self, text: str, seconds: float, job: Job) -> Iterator[dict[str, Any]]:
        note("begin", job)
        yield {"said": "first"}
        misbehave(text, seconds, job)
        yield proof(text, job)


class Load(BaseModel):
    text: str
    seconds: float


class Together(Model):
    @batched(max_size=4, max_wait_ms=20)
    def predict(self, loads: list[Load], jobs: list[Job]) -> list[dict[str, Any]]:
        for job in jobs:
            note("begin", job)
        bad = next((load.text for load in loads if load.text in ("loops", "sleeps", "holds the GIL", "crashes")), "")
        misbehave(bad, max(load.seconds for load in loads), jobs[0])
        return [proof(load.text, job) for load, job in zip(loads, jobs, strict=True)]
