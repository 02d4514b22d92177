"""Flows that die at bad moments, and what must not happen twice (S28 to S30)."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from models_for_steps import both, gate, is_open, note, work
from pydantic import BaseModel

from longrun import Job, Retry, StepFailed, model

KEPT: list[Any] = [1]


def pay(to: str, key: str, dies: bool = False) -> str:
    """An effect; then the process dies, the first time, before anybody has heard of it."""
    note(to, key)
    if dies and not is_open(to, "died"):
        (Path(to) / "gate-died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return f"paid {key}"


@model(queue="work")
def keyed(to: str, fails: bool = False, *, job: Job) -> str:
    """Notes its key; with `fails` it does, until the test mends it."""
    note(to, f"child-{job.idempotency_key}")
    if fails and not is_open(to, "mended"):
        raise ValueError("not yet")
    return job.idempotency_key


@both(queue="flow")
async def pays(job: Any, to: str, n: int) -> list[Any]:
    """n: 1 = it dies after the effect, 2 = so with once=True, 3 = the child after it fails."""
    note(to, f"own-{job.idempotency_key == job.id}")
    try:
        paid = await job.step("pay", pay, to, job.key("pay"), dies=n in (1, 2), once=n == 2)
    except StepFailed as error:
        paid = error.code
        if not is_open(to, "catch"):
            raise
    return [paid, await job.run(keyed, to=to, fails=n == 3, key="child")]


@both(queue="flow", retry=Retry(3, backoff=0.01))
async def pays_again(job: Any, to: str, n: int) -> list[Any]:
    """Its child fails once, so it has a second epoch. With n it dies in a `once` step, of which then nobody knows."""
    note(to, "attempt")
    if n:
        return [await job.step("pay", pay, to, job.key("pay"), dies=True, once=True)]
    paid = await job.step("pay", pay, to, job.key("pay"))
    if job.attempt == 2:
        (Path(to) / "gate-mended").touch()
    return [paid, await job.run(keyed, to=to, fails=True, key="child")]


@both(queue="flow", delivery="at_most_once")
async def only_once(job: Any, to: str, n: int) -> Any:
    """n: what it does."""
    note(to, "once")
    try:
        if n == 0:
            return await job.run(work, name="w", to=to, wait=True)
        if n == 1:
            await job.sleep(0.01)
        if n == 2:
            await job.wait_for("approve", bool)
        if n == 3:
            await job.run(work, name="w", to=to)
            note(to, "busy")
            gate(to, "busy")
    except StepFailed as error:
        return f"{type(error).__name__} {error.code}"
    return "done"


@model(queue="flow", delivery="at_most_once")
async def runs_beside(job: Job, to: str) -> str:
    """It runs, with a step under way."""
    step = asyncio.ensure_future(job.run(work, name="w", to=to, wait=True))
    await asyncio.sleep(0)
    while not step.done():  # noqa: ASYNC110 - code that is busy
        await asyncio.sleep(0.02)
    return "done"


@model(queue="mortal", delivery="at_most_once")
def mortal(to: str) -> None:
    note(to, "mortal")
    os.kill(os.getpid(), signal.SIGKILL)


@both(queue="flow")
async def outlives(job: Any, to: str, n: int) -> str:
    """Its at-most-once step dies; it goes on."""
    try:
        return str(await job.run(mortal, to=to))
    except StepFailed as error:
        return f"{error.code}, then {await job.run(work, name='w', to=to)}"


class Pair(BaseModel):
    left: int
    right: float = 2.0


class Strict(BaseModel):
    left: int


@model(queue="work")
def typed(value: int) -> Pair:
    return Pair(left=value)


@model(queue="work")
def echo(value: Any = None) -> Any:
    return value


def a_tuple() -> tuple[int, list[int]]:
    return 1, [2]


def a_model() -> Strict:
    return Strict(left=1)


def a_wrong_model() -> Strict:
    return {"left": "no"}  # type: ignore[return-value]


def kept() -> list[Any]:
    return KEPT


def changes(items: list[Any], pair: Pair, *, more: dict[str, list[int]]) -> int:
    """It changes all that it is given."""
    items.append(9)
    items[0].append(9)
    pair.left = 9
    more["a"].append(9)
    return len(items)


@both(queue="flow")
async def types(job: Any, to: str, n: int) -> list[Any]:
    """What steps return, and what is left of what they were given."""
    pair, same, local = await job.step("pair", a_tuple), await job.step("kept", kept), await job.step("model", a_model)
    KEPT.append(2)
    given = [1]
    out = await job.run(echo, value=given)
    given.append(2)
    out.append(3)
    again = await job.run(echo, value=(1, (2,)), key="tuple")
    child = await job.run(typed, value=3)
    try:
        wrong = await job.step("wrong", a_wrong_model)
    except StepFailed as error:
        wrong = error.code
    items, record, more = [[1], 2], Pair(left=1), {"a": [1]}
    changed = await job.step("changes", changes, items, record, more=more)
    wrong = [wrong, changed, items, record.left, more]
    found = [pair, same, same is KEPT, type(local).__name__, given, out, again, [type(child).__name__, child.left, child.right], wrong]
    await job.run(work, name="after", to=to, wait=True)
    del KEPT[1:]
    return found
