"""Models whose output proves what was computed, and by which attempt. Each run leaves a line in the file named by CHAOS_LOG."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from longrun import Job, model


def note(what: str, job: Job) -> None:
    """One line in one write, so that lines of several processes never mix."""
    line = f"{what} {job.id} {job.attempt} {os.getpid()}\n"
    log = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(log, line.encode())
    finally:
        os.close(log)


@model(concurrency=20)
async def nap(text: str, seconds: float, job: Job) -> dict[str, Any]:
    """Sleep beside others; only a tenth as long when it runs again, so that tests can hold jobs at leisure and still end soon."""
    note("begin", job)
    await asyncio.sleep(seconds if job.attempt == 1 else seconds / 10)
    note("end", job)
    return {"digest": hashlib.sha256(text.encode()).hexdigest(), "attempt": job.attempt}


@model
def grind(text: str, seconds: float, job: Job) -> dict[str, Any]:
    """Keep the runner's thread for itself."""
    note("begin", job)
    time.sleep(seconds)
    note("end", job)
    return {"digest": hashlib.sha256(text.encode()).hexdigest(), "attempt": job.attempt}


@model(concurrency=20)
async def spell(text: str, seconds: float, job: Job) -> AsyncIterator[str]:
    """Stream the text, letter by letter."""
    note("begin", job)
    for letter in text:
        await asyncio.sleep(seconds / len(text))
        yield letter
    note("end", job)
