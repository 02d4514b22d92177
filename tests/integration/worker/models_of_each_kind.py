"""A model of each kind, for a folder in which a file has the name of every module that the runner has loaded."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import longrun
from longrun import Failure, File, Job, Model, batched, model

#: As programs do that were written before `asyncio.run`.
LOOP = asyncio.get_event_loop()


@model
def modules() -> list[str]:
    """The top-level modules that are loaded here."""
    return sorted({name.partition(".")[0] for name in sys.modules})


@model
async def submits(text: str, to: str = "loaded") -> str:
    """A job of a job. Celery, Redis and HTTP are imported by that, and not before."""
    job = await longrun.submit(to, {"text": text}, tenant="t")
    http = sorted(name for name in ("redis", "hiredis", "celery", "http") if name in sys.modules)
    return f"{await job.result()} {' '.join(http)}"


def search() -> list[Any]:
    """Where this process looks for modules, and what it takes for its command line."""
    return [sys.path, sys.argv]


@model
def path() -> list[Any]:
    """In the runner."""
    return search()


@model
def spawned_path() -> list[Any]:
    """In a process that it has spawned."""
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(search).result(60)


@model
def inherited() -> Any:
    """The environment of a program that is started here, the descriptors that it gets if nothing is closed, and whether it is `-P`."""
    code = "import json, os, sys; print(json.dumps([dict(os.environ), os.listdir('/proc/self/fd'), sys.flags.safe_path]))"
    done = subprocess.run([sys.executable, "-c", code], close_fds=False, stdout=subprocess.PIPE, check=True)
    environment, descriptors, safe_path = json.loads(done.stdout)
    # The last one is that of the listing itself.
    return [environment, sorted(map(int, descriptors))[:-1], safe_path]


class Loaded(Model):
    """Sync, with `load`."""

    def load(self, device: str) -> None:
        """Nothing large."""
        self.device = device

    def predict(self, text: str, job: Job) -> str:
        """Reports as it goes."""
        job.progress(0.5, "half")
        job.log(text)
        logging.getLogger("app").warning("%s", datetime.strptime("2026-01-02", "%Y-%m-%d"))
        print(text)
        return f"{text} on {self.device}"


@model
async def aio(text: str, job: Job) -> str:
    """Async, with a task and a thread."""
    job.progress(0.5)
    async with asyncio.timeout(30):
        return await asyncio.to_thread(str.upper, text)


@model
def words(text: str) -> Iterator[str]:
    """A generator."""
    yield from text.split()


@model
async def aio_words(text: str) -> AsyncIterator[str]:
    """An async generator."""
    for word in text.split():
        yield word


class Ask(BaseModel):
    """One item of a batch."""

    text: str


@model
@batched(max_size=4, max_wait_ms=5)
def together(asks: list[Ask]) -> list[str]:
    """In batches."""
    return [ask.text for ask in asks]


@model
def made(text: str) -> File:
    """A file."""
    return File(text.encode(), name="made.txt")


@model
def fails(text: str) -> str:
    """A failure of its own."""
    raise Failure(text)


@model
def breaks(text: str) -> str:
    """An error with a chain."""
    try:
        return str(1 // 0)
    except ZeroDivisionError as error:
        raise ValueError(text) from error


@model
def threads(text: str) -> str:
    """A pool of threads and a thread."""
    thread = threading.Thread(target=print, args=(text,))
    thread.start()
    thread.join()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return pool.submit(str.upper, text).result(60)


@model
def children(text: str, method: str) -> str:
    """Processes, started by `method`."""
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        first = pool.submit(upper, text).result(60)
    pool = context.Pool(1)
    second = pool.apply_async(upper, (first + text,)).get(60)
    pool.close()
    pool.join()
    return str(second)


def upper(text: str) -> str:
    """Runs in a child."""
    return text.upper()


@model
def sibling(name: str) -> str:
    """The folder of a module that is imported now."""
    return str(Path(str(__import__(name).__file__)).parent)
