"""Models that run models; each call is written to a file, whose lines the tests count."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from longrun import Job, Model, model

CALLS = Path(os.environ.get("CALLS", os.devnull))


def note(what: str) -> None:
    with CALLS.open("a") as file:
        file.write(f"{what} {os.getpid()}\n")


@model(queue="work", concurrency=4)
def work(name: str, gate: str = "") -> str:
    """Done as soon as the file `gate` is there."""
    note(name)
    while gate and not Path(gate).exists():
        time.sleep(0.01)
    return f"{name} done"


class Flow(Model):
    """Two steps, one after the other; one at a time runs."""

    async def predict(self, job: Job, gate: str = "") -> list[Any]:
        note("flow")
        first = await job.run(work, name="first")
        second = await job.run(work, name="second", gate=gate)
        return [first, second]


class SyncFlow(Model):
    """The same in plain code."""

    def predict(self, job: Job, gate: str = "") -> list[Any]:
        note("flow")
        first = job.run(work, name="first")
        second = job.run(work, name="second", gate=gate)
        return [first, second]


class Nested(Model, concurrency=1):
    """On its one place, down to the bottom."""

    async def predict(self, job: Job, depth: int) -> int:
        return 1 + sum(await job.gather(*(job.call(Nested, depth=depth - 1) for _ in range(2)))) if depth else 1


class SyncNested(Model):
    """The same in plain code."""

    def predict(self, job: Job, depth: int) -> int:
        return 1 + sum(job.gather(*(job.call(SyncNested, depth=depth - 1) for _ in range(2)))) if depth else 1
