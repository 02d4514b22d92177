"""Models whose output proves what was computed, and by which attempt. Each run leaves a line in the file named by CHAOS_LOG."""

import asyncio
import ctypes
import hashlib
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel

from longrun import File, Job, Retry, batched, model


def note(what: str, job: Job) -> None:
    """One line in one write, so that lines of several processes never mix."""
    line = f"{what} {job.id} {job.attempt} {os.getpid()}\n"
    log = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(log, line.encode())
    finally:
        os.close(log)


def proof(text: str, job: Job) -> dict[str, Any]:
    return {"digest": hashlib.sha256(text.encode()).hexdigest(), "attempt": job.attempt}


@model(concurrency=20)
async def nap(text: str, seconds: float, job: Job) -> dict[str, Any]:
    """Sleep beside others; only a tenth as long when it runs again, so that tests can hold jobs at leisure and still end soon."""
    note("begin", job)
    await asyncio.sleep(seconds if job.attempt == 1 else seconds / 10)
    note("end", job)
    return proof(text, job)


@model
def grind(text: str, seconds: float, job: Job) -> dict[str, Any]:
    """Keep the runner's thread for itself."""
    note("begin", job)
    time.sleep(seconds)
    note("end", job)
    return proof(text, job)


@model(concurrency=20)
async def spell(text: str, seconds: float, job: Job) -> AsyncIterator[str]:
    """Stream the text, letter by letter."""
    note("begin", job)
    for letter in text:
        await asyncio.sleep(seconds / len(text))
        yield letter
    note("end", job)


@model(concurrency=20)
async def sign(text: str, seconds: float, job: Job) -> AsyncIterator[str]:
    """Stream a name that this run has given itself, with numbers: two runs never say the same."""
    note("begin", job)
    name = secrets.token_hex(4)
    for number in range(100):
        await asyncio.sleep(seconds / 100)
        yield f"{name}-{number} "
    note("end", job)


class Load(BaseModel):
    text: str
    seconds: float


@model
@batched(max_size=8, max_wait_ms=100)
def weigh(loads: list[Load], jobs: list[Job]) -> list[dict[str, Any]]:
    """Work on several at once, as long as the longest takes. The text `bad` fails alone, `poison` takes the process with it."""
    for job in jobs:
        note("begin", job)
    if any(load.text == "poison" for load in loads):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(max(load.seconds if job.attempt == 1 else load.seconds / 10 for load, job in zip(loads, jobs, strict=True)))
    for job in jobs:
        note("end", job)
    return [
        ValueError("bad") if load.text == "bad" else proof(load.text, job)  # type: ignore[misc]
        for load, job in zip(loads, jobs, strict=True)
    ]


@model(concurrency=20, delivery="at_most_once")
async def pay(text: str, seconds: float, job: Job) -> dict[str, Any]:
    """Must never begin twice."""
    note("begin", job)
    await asyncio.sleep(seconds)
    note("end", job)
    return proof(text, job)


@model(concurrency=20, retry=Retry(3, backoff=0.1))
async def waver(text: str, seconds: float, job: Job) -> dict[str, Any]:
    """Raise once, then succeed."""
    note("begin", job)
    await asyncio.sleep(seconds)
    if job.attempt == 1:
        raise OSError("not at once")
    return proof(text, job)


@model
async def poison(text: str, seconds: float, job: Job) -> None:
    """Kill the process in the way that `text` names."""
    note("begin", job)
    await asyncio.sleep(seconds)
    if text == "segfault":
        ctypes.string_at(0)
    elif text == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is short


def made(text: str, job: Job) -> list[File]:
    """Two files that prove what was computed, and by which attempt."""
    return [File(f"{proof(text + part, job)}".encode(), name=f"{part}.txt") for part in ("a", "b")]


@model
def draw(text: str, seconds: float, job: Job) -> list[File]:
    """Make files."""
    note("begin", job)
    time.sleep(seconds if job.attempt == 1 else seconds / 10)
    note("end", job)
    return made(text, job)


@model(concurrency=20)
async def sketch(text: str, seconds: float, job: Job) -> AsyncIterator[File]:
    """Yield files."""
    note("begin", job)
    for file in made(text, job):
        await asyncio.sleep(seconds / 2 if job.attempt == 1 else seconds / 20)
        yield file
    note("end", job)


@model
def scatter(text: str, seconds: float, job: Job) -> list[File]:
    """Make as many files as `text` says."""
    note("begin", job)
    time.sleep(seconds)
    note("end", job)
    return [File(f"{number}".encode(), name=f"{number}.txt") for number in range(int(text))]


@model
def develop(text: str, seconds: float, film: File, job: Job) -> dict[str, Any]:
    """Read a file and make another one of it; what is returned is as long as the text."""
    note("begin", job)
    data = film.read()
    time.sleep(seconds if job.attempt == 1 else seconds / 10)
    note("end", job)
    made = File(f"attempt {job.attempt}\n".encode() + data[::-1], name="print.bin")
    return {"digest": hashlib.sha256(data).hexdigest(), "attempt": job.attempt, "text": text, "print": made}


@model
def write(text: str, seconds: float, job: Job) -> list[Any]:
    """An output that does not fit into a record."""
    note("begin", job)
    time.sleep(seconds if job.attempt == 1 else seconds / 10)
    note("end", job)
    return [proof(text, job), "x" * 100_000]


@model
def hold(text: str, seconds: float, job: Job) -> dict[str, Any]:
    """Keep the GIL for whole seconds: no other thread of the process runs."""
    note("begin", job)
    ctypes.PyDLL(None).sleep(int(seconds))
    note("end", job)
    return proof(text, job)


@model
def odd(text: str, seconds: float, job: Job) -> Any:
    """Return what is hard to write as JSON."""
    note("begin", job)
    values: dict[str, Any] = {
        "nan": [float("nan"), float("inf"), -float("inf")],
        "surrogate": "\ud800 and \x00",
        "bytes": b"\xff\x00",
        "huge number": 10**5000,
        "huge text": "x" * 1_000_000,
        "object": object(),
    }
    if text == "deep":
        deep: Any = 1
        for _ in range(100_000):
            deep = [deep]
        return deep
    if text == "loop":
        loop: list[Any] = []
        loop.append(loop)
        return loop
    return values[text]


@model(concurrency=20)
async def pour(text: str, seconds: float, job: Job) -> AsyncIterator[str]:
    """Stream as many blocks of 10 KB as `text` says, and stay for `seconds`."""
    note("begin", job)
    for number in range(int(text)):
        yield f"{number:05}" * 2000
        await asyncio.sleep(0)
    await asyncio.sleep(seconds)
    note("end", job)
