"""Models that say something while they work: one for each way to do it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import io
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel

from longrun import Job, Model, Retry, batched, model

logging.basicConfig(level=logging.INFO, format="%(name)s | %(message)s")
log = logging.getLogger("talk")


def say(how: str) -> None:  # noqa: PLR0912 - a list of ways
    """Say `how`, in that way."""
    if how == "print":
        print("print")
    elif how == "stderr":
        sys.stderr.write("stderr\n")
    elif how == "bytes":
        sys.stdout.buffer.write(b"bytes \xff\n")
    elif how == "logging":
        log.info("logging")
        log.debug("not asked for")
        log.critical("it is %s", "critical")
    elif how == "exception":
        try:
            raise ValueError("secret")
        except ValueError:
            log.exception("exception")
    elif how == "warning":
        warnings.warn("warning", stacklevel=1)
    elif how == "descriptor":
        os.write(1, b"descriptor\n")
        os.write(2, b"another\n")
    elif how == "c":
        ctypes.CDLL(None).printf(b"c %d", 7)
    elif how == "program":
        subprocess.run(["/bin/sh", "-c", "echo program; echo its stderr >&2"], check=True)
    elif how == "bar":
        for percent in range(100):
            print(f"\r{percent:3}%|###", end="", file=sys.stderr, flush=True)
        print("\r100%|###", file=sys.stderr)
    elif how == "redirected":
        with contextlib.redirect_stdout(io.StringIO()) as text:
            print("redirected")
        assert text.getvalue() == "redirected\n"
    elif how == "thread":
        thread = threading.Thread(target=print, args=("thread",))
        thread.start()
        thread.join()
    elif how == "fork":
        child = os.fork()
        if child == 0:
            print("fork", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    elif how == "at last":
        # Nobody else gets a turn before the job has ended.
        ctypes.PyDLL(None).write(1, b"at last\n", 8)
    elif how == "partial":
        print("partial", end="")
    else:
        raise AssertionError(how)


class Talk(Model):
    """Says things, one after the other."""

    def load(self, device: str) -> None:
        print("heard in load")
        os.write(1, b"heard at the descriptor in load\n")

    def predict(self, ways: list[str], job: Job) -> list[object]:
        for how in ways:
            say(how)
        return [sys.stdout.isatty(), sys.stdout.fileno(), sys.stderr.fileno()]


class Ordered(Model):
    def predict(self, job: Job) -> Iterator[str]:
        print("a")
        yield "x"
        os.write(1, b"b\n")
        job.progress(0.5)
        print("c")
        subprocess.run(["echo", "d"], check=True)
        job.log("e")
        yield "y"
        os.write(2, b"f")


class Flood(Model):
    """Prints `lines` lines in one of two ways, and says how long that took."""

    def predict(self, lines: int, program: bool = False) -> float:
        begin = time.monotonic()
        if program:
            subprocess.run(["/bin/sh", "-c", f"yes flood | head -n {lines}"], check=True)
        else:
            for n in range(lines):
                print("line", n)
        return time.monotonic() - begin


class Leaves(Model):
    """Leaves something behind that talks on."""

    def predict(self, what: str, name: str, seconds: float = 0.0) -> None:
        print("begin", name)
        if what == "thread":
            threading.Thread(target=self.talk, args=(name,), daemon=True).start()
        elif what == "program":
            subprocess.Popen(["/bin/sh", "-c", f"while sleep 0.02; do echo late {name}; done"])
        time.sleep(seconds)
        print("end", name)

    def talk(self, name: str) -> None:
        for _ in range(100):
            time.sleep(0.02)
            print("late", name)


@model(concurrency=20)
async def aside(name: str, job: Job) -> None:
    for n in range(5):
        print(name, n)
        await asyncio.sleep(0.01)
        log.info("%s logs %s", name, n)
        await asyncio.to_thread(print, name, "to_thread", n)
        await asyncio.create_task(again(name, n))
        os.write(1, f"{name} at the descriptor\n".encode())


async def again(name: str, n: int) -> None:
    await asyncio.sleep(0)
    print(name, "task", n)


POOL = ThreadPoolExecutor(1)


@model(concurrency=20)
async def pooled(name: str, seconds: float) -> None:
    """Prints on a thread that jobs share, which the first of them has started."""
    await asyncio.get_running_loop().run_in_executor(POOL, print, name, "in the pool")
    await asyncio.sleep(seconds)


class Item(BaseModel):
    name: str
    together: bool = True


class Batch(Model):
    """Prints the name of each item; fails a batch of several that is not to be together."""

    @batched(max_size=4, max_wait_ms=500)
    def predict(self, items: list[Item]) -> list[int]:
        for item in items:
            print("item", item.name)
            os.write(1, f"descriptor {item.name}\n".encode())
        if len(items) > 1 and not items[0].together:
            raise ValueError("one by one")
        return [len(items) for _ in items]


class Endless(Model):
    """Yields until somebody stops it."""

    def predict(self) -> Iterator[str]:
        while True:
            yield "x" * 100


@model(retry=Retry(3, backoff=0.02), timeout=1)
def costs(how: str, job: Job) -> None:
    """Each attempt costs something, however it ends."""
    job.usage(cost_usd=0.25, tokens=10)
    if how == "fails twice" and job.attempt < 3:
        raise OSError("not yet")
    if how == "fails":
        raise OSError("never")
    if how == "dies once" and job.attempt == 1:
        time.sleep(0.1)
        os.kill(os.getpid(), 9)
    if how == "waits":
        while True:
            job.check()
            time.sleep(0.01)


class Dies(Model):
    """Says something, and is gone a moment later."""

    def predict(self, how: str, marker: str) -> Iterator[str]:
        if Path(marker).exists():
            return
        Path(marker).touch()
        print("said before")
        yield "yielded before"
        time.sleep(0.1)
        if how == "c":
            os.write(2, b"last words of C\n")
        os.kill(os.getpid(), 9)


class Gil(Model):
    """Writes to the descriptor, from C code that keeps the GIL, far more than a pipe holds."""

    def predict(self, megabytes: int) -> int:
        written, data = 0, b"x" * 65535 + b"\n"
        while written < megabytes << 20:
            written += ctypes.PyDLL(None).write(1, data, len(data))
        return written
