"""Models whose calls are counted: what they were called with is written to the file CALLS, one line for each call."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from pydantic import BaseModel

from longrun import Failure, Job, Model, batched, model


def note(what: str, names: list[str]) -> None:
    with Path(os.environ["CALLS"]).open("a") as file:
        file.write(f"{what} {len(names)} {' '.join(names)}\n")


class OutOfMemoryError(RuntimeError):
    """Named and worded as PyTorch's."""


class Thing(BaseModel):
    name: str
    how: str = ""
    tongue: str = "en"


class Many(Model, queue="many"):
    @batched(max_size=32, max_wait_ms=300)
    def predict(self, things: list[Thing]) -> list[str]:
        note("many", [thing.name for thing in things])
        hows = {thing.how for thing in things}
        if "raise" in hows:
            raise ValueError("one of them is bad")
        if "short" in hows:
            return [thing.name for thing in things][1:]
        if "text" in hows:
            return "no list"  # type: ignore[return-value]
        return [Failure("It is bad.") if thing.how == "bad" else thing.name for thing in things]  # type: ignore[misc]


@model(queue="many")
@batched(max_size=32, max_wait_ms=300)
async def many_async(things: list[Thing]) -> list[str]:
    note("many_async", [thing.name for thing in things])
    if any(thing.how == "raise" for thing in things):
        raise ValueError("one of them is bad")
    if any(thing.how == "memory" for thing in things) and len(things) > 1:
        raise MemoryError
    return [thing.name for thing in things]


class Tight(Model, queue="tight"):
    """Has memory for five items, and never for one that is huge."""

    @batched(max_size=16, max_wait_ms=300)
    def predict(self, things: list[Thing]) -> list[str]:
        note("tight", [thing.name for thing in things])
        if len(things) > 5 or any(thing.how == "huge" for thing in things):
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return [thing.name for thing in things]


class Wide(Model, queue="wide", concurrency=4):
    """Has memory for one job at a time, unless that is huge."""

    inside = 0
    lock = threading.Lock()

    def predict(self, name: str, how: str = "") -> str:
        note("wide", [name])
        with self.lock:
            self.inside += 1
        try:
            time.sleep(0.3)
            if self.inside > 1 or how == "huge":
                raise MemoryError
            return name
        finally:
            with self.lock:
                self.inside -= 1


class Tongues(Model, queue="tongues"):
    @batched(max_size=4, max_wait_ms=100, key=("tongue",))
    def predict(self, things: list[Thing], jobs: list[Job]) -> list[list[str]]:
        note("tongues", [thing.name for thing in things])
        time.sleep(0.02)
        return [sorted({thing.tongue for thing in things})] * len(things)


class Steady(Model, queue="steady"):
    @batched(max_size=16, max_wait_ms=5)
    def predict(self, things: list[Thing]) -> list[str]:
        time.sleep(0.05)
        return [thing.name for thing in things]


class Gate(Model, queue="gate"):
    """Waits in its first call, so that what comes meanwhile is chosen from in one piece."""

    @batched(max_size=4, max_wait_ms=200)
    def predict(self, things: list[Thing]) -> list[str]:
        note("gate", [thing.name for thing in things])
        end = time.monotonic() + 20
        while things[0].how == "wait" and not Path(os.environ["CALLS"]).with_suffix(".go").exists() and time.monotonic() < end:
            time.sleep(0.01)
        return [thing.name for thing in things]
