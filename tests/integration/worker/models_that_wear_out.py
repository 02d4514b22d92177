"""Models whose runners are replaced. Each job answers with the process id of its runner."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import threading
import time
from pathlib import Path

from pydantic import BaseModel

from longrun import Model, batched, model

MIB = 1 << 20


class Plain(Model, queue="plain", max_jobs_per_runner=3):
    def load(self, device: str) -> None:
        time.sleep(1)

    def predict(self, seconds: float = 0.05) -> int:
        time.sleep(seconds)
        return os.getpid()


class Wait(BaseModel):
    seconds: float = 0.05


class Batch(Model, queue="batch", max_jobs_per_runner=3):
    def load(self, device: str) -> None:
        time.sleep(1)

    @batched(max_size=2, max_wait_ms=5)
    def predict(self, waits: list[Wait]) -> list[int]:
        time.sleep(max(wait.seconds for wait in waits))
        return [os.getpid() for _ in waits]


@model(queue="aio", concurrency=10, max_jobs_per_runner=3)
async def aio(seconds: float = 0.05) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()


class Gpu(Model, queue="gpu", gpus=1, max_jobs_per_runner=3):
    def predict(self, seconds: float = 0.05) -> int:
        time.sleep(seconds)
        return os.getpid()


class Hog(Model, queue="hog", max_memory=400 * MIB):
    """Keeps memory of every job."""

    kept: list[bytes]

    def load(self, device: str) -> None:
        self.kept = []

    def predict(self, seconds: float = 0.5) -> int:
        self.kept.append(os.urandom(100 * MIB))
        time.sleep(seconds)
        return os.getpid()


class Herd(Model, queue="herd", max_memory=400 * MIB):
    """Has children that hold the memory."""

    def predict(self, seconds: float = 0.5) -> int:
        if os.fork() == 0:
            kept = os.urandom(100 * MIB)
            time.sleep(600)
            os._exit(len(kept))
        time.sleep(seconds)
        return os.getpid()


class Heavy(Model, queue="heavy", max_memory=MIB):
    """Is over its limit as soon as it has loaded."""

    def predict(self, seconds: float = 1.1) -> int:
        time.sleep(seconds)
        return os.getpid()


class Hangs(Model, queue="hangs", load_timeout=6):
    """Does not come back from its first load."""

    def load(self, device: str) -> None:
        first = Path(os.environ["MARKER"])
        if not first.exists():
            first.touch()
            time.sleep(600)

    def predict(self) -> int:
        return os.getpid()


class Deadlock(Model, queue="deadlock"):
    """Leaves a thread behind that takes the GIL and keeps it, or takes it itself for so many seconds."""

    def predict(self, leave: bool = False, seconds: int = 0) -> int:
        if leave:
            threading.Timer(0.5, lambda: ctypes.PyDLL(None).sleep(600)).start()
        ctypes.PyDLL(None).sleep(seconds)
        return os.getpid()


class Parent(Model, queue="parent"):
    """Has started a program, and forked a process that holds everything open."""

    def load(self, device: str) -> None:
        self.program = subprocess.Popen(["sleep", "600"])
        self.fork = os.fork()
        if self.fork == 0:
            time.sleep(600)
            os._exit(0)

    def predict(self) -> list[int]:
        return [os.getpid(), self.program.pid, self.fork]
