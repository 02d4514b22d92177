"""What flows under test are made of: leaves, gates, and one way to write a flow that is served as async and as plain code.

Each test gives its jobs a folder of its own, `to`: what is called is a line there, and a file `gate-NAME` opens what waits for it.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from longrun import Failure, Job, model

Scenario = Callable[[Any, str, int], Awaitable[Any]]


def note(to: str, what: str) -> int:
    """One more line in the test's folder: what is called, and in which process. How often it was."""
    path = Path(to) / "calls"
    with path.open("a+b", buffering=0) as file:
        file.write(f"{what} {os.getpid()}\n".encode())
        end = file.tell()  # of its own line: others write at the same time
    return sum(line.split()[0] == what.encode() for line in path.read_bytes()[:end].splitlines())


def gate(to: str, name: str) -> None:
    """Until the test has opened it; a test that has ended has opened all."""
    while not (Path(to) / f"gate-{name}").exists() and not (Path(to) / "gate-all").exists():
        time.sleep(0.01)


async def hold(job: Any, to: str, name: str) -> None:
    """The same in a flow: its own code runs meanwhile, it waits for no step."""
    if isinstance(job, _Given):
        return gate(to, name)
    while not is_open(to, name) and not is_open(to, "all"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return None


def is_open(to: str, name: str) -> bool:
    """Whether the test has opened it."""
    return (Path(to) / f"gate-{name}").exists()


class _Given:
    """`job` of a plain model, whose verbs are awaited as those of an async one: what they return is there at once."""

    _VERBS = frozenset({"run", "gather", "first", "map", "step", "sleep", "wait_for"})

    def __init__(self, job: Job) -> None:
        self._job = job

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._job, name)
        if name not in self._VERBS:
            return found

        def verb(*args: Any, **named: Any) -> Awaitable[Any]:
            value = found(*args, **named)

            async def given() -> Any:
                return value

            return given()

        return verb


def both(**options: Any) -> Callable[[Scenario], Scenario]:
    """Serve `async def NAME(job, to, n)` as the async model NAME, and the same as the plain model NAME_sync."""

    def define(scenario: Scenario) -> Scenario:
        name = scenario.__name__  # type: ignore[attr-defined]

        async def awaited(job: Job, to: str, n: int = 0) -> Any:
            return await scenario(job, to, n)

        def plain(job: Job, to: str, n: int = 0) -> Any:
            work = scenario(_Given(job), to, n)
            assert inspect.iscoroutine(work)
            try:
                work.send(None)
            except StopIteration as end:
                return end.value
            raise AssertionError("plain code never suspends")

        for function, its_name in ((awaited, name), (plain, f"{name}_sync")):
            function.__module__ = scenario.__module__
            model(name=its_name, **options)(function)
        return scenario

    return define


@model(queue="work", concurrency=16)
def work(name: str, to: str, wait: bool = False) -> str:
    """A step that costs: it is noted, and with `wait` it ends when the test opens the gate of its name."""
    note(to, name)
    if wait:
        gate(to, name)
    return f"{name} done"


@model(queue="work", concurrency=16)
def costly(name: str, to: str, job: Job) -> str:
    """A step that says what it costs, and returns another value at each call."""
    job.usage(cost_usd=0.25)
    return f"{name} {note(to, name)}"


@model(queue="work", concurrency=16)
def broken(name: str, to: str, failure: bool = False, wait: bool = False) -> str:
    """A step that fails, unless the test has mended it (`mend-NAME`)."""
    note(to, name)
    if wait:
        gate(to, name)
    if is_open(to, f"mend-{name}"):
        return f"{name} mended"
    if failure:
        raise Failure(f"{name} says no")
    raise ValueError(f"secret of {name}")


@model(queue="nobody")
def never(to: str) -> None:
    """A step that nobody serves: no worker of the tests has its queue."""
