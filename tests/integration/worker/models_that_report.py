"""A model that reports how far it is and yields what it has, until it ends in the way asked for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from longrun import Job, Retry, model


async def there(path: str) -> None:
    """Wait until the file exists, so that a test says when the story goes on."""
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240 (a test on another process says when)
        await asyncio.sleep(0.01)


@model(concurrency=20, retry=Retry(2, backoff=0.01))
async def drip(words: list[str], go_on: str, end: str, job: Job) -> AsyncIterator[str]:
    """Yield the words, wait for the file `go_on`, and then `end`: go on, raise, exit, or raise at the first attempt only."""
    for number, word in enumerate(words):
        yield word
        job.progress(number / len(words), f"attempt {job.attempt}", word)
    await there(go_on)
    if end == "raise" or (end == "raise once" and job.attempt == 1):
        raise OSError("no more ink")
    if end == "exit":
        os._exit(3)
    job.progress(1, "the end")
    yield "."
