"""Where steps are refused, and code that is unwound (S39 to S44)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from models_for_steps import broken, note, work
from pydantic import BaseModel

from longrun import File, Job, StepConflict, StepFailed, StepRefused, batched, chain, fan_out, model
from longrun.models import Retry


def add(value: int) -> int:
    return value + 1


@model(queue="flow")
async def forgets(job: Job, to: str, how: str) -> str:
    """It calls, and does not await."""
    match how:
        case "run":
            job.run(work, name="w", to=to)
        case "gather":
            job.gather(job.call(work, name="w", to=to))
        case "map":
            job.map(work, [{"name": "w", "to": to}])
        case "first":
            job.first(job.call(work, name="w", to=to))
        case "sleep":
            job.sleep(1)
        case "step":
            job.step("add", note, to, "w")
        case "wait":
            job.wait_for("w")
        case "kept":
            calls = [job.run(work, name="w", to=to)]
            await asyncio.sleep(0.01)
            return f"{len(calls)} kept"
        case "task":  # it is begun, and left behind
            task = asyncio.ensure_future(job.run(work, name="w", to=to))
            await asyncio.sleep(0.01)
            return f"begun {task.done()}"
    return "done"


class Item(BaseModel):
    n: int = 0


async def _try(job: Job, what: str) -> Any:
    match what:
        case "run":
            return job.run(work, name="w", to="")
        case "gather":
            return job.gather(job.call(work, name="w", to=""))
        case "step":
            return job.step("add", add, 1)
        case "sleep":
            return job.sleep(0.01)
        case _:
            return job.wait_for("w")


KINDS = ("run", "gather", "step", "sleep", "wait")


@model(queue="flow")
@batched(max_size=4)
def in_batches(items: list[Item], jobs: list[Job]) -> list[str]:
    """What it hears for each way to ask for a step."""
    return [_heard(job) for job in jobs]


@model(queue="flow")
@batched(max_size=4)
async def in_async_batches(items: list[Item], jobs: list[Job]) -> list[str]:
    """The same in async code: refused where it is called."""
    return [_heard(job) for job in jobs]


@model(queue="main", main_thread=True)
def on_main(job: Job) -> str:
    """The same on the main thread."""
    return _heard(job)


def _heard(job: Job) -> str:
    heard = set()
    for what in KINDS:
        try:
            _try(job, what).send(None)  # type: ignore[attr-defined]
        except StopIteration:
            heard.add(f"{what} worked")
        except StepRefused as error:
            heard.add(f"{error.code}: {error.detail}")
    return " | ".join(sorted(heard))


@model(queue="flow")
async def cleans_up(job: Job, to: str, swallows: bool = False) -> str:
    """What its clean-up sees, and what it asks for there."""
    note(to, "enter")
    async with AsyncExitStack() as stack:
        stack.callback(note, to, "stack")
        try:
            return await job.run(work, name="w", to=to, wait=True)
        except BaseException as error:
            note(to, f"caught-{type(error).__name__}")
            for what in ("run", "step", "sleep"):
                try:
                    if what == "run":
                        await job.run(work, name="in-clean-up", to=to)
                    elif what == "step":
                        await job.step("clean-up", note, to, "step-in-clean-up")
                    else:
                        await job.sleep(0.01)
                except BaseException as again:
                    note(to, f"{what}-{type(again).__name__}")
            if swallows:
                return "swallowed"
            raise
        finally:
            note(to, "finally")


@model(queue="flow")
def cleans_up_sync(job: Job, to: str, swallows: bool = False) -> str:
    """The same in plain code."""
    note(to, "enter")
    with ExitStack() as stack:
        stack.callback(note, to, "stack")
        try:
            return job.run(work, name="w", to=to, wait=True)
        except BaseException as error:
            note(to, f"caught-{type(error).__name__}")
            for what in ("run", "step", "sleep"):
                try:
                    if what == "run":
                        job.run(work, name="in-clean-up", to=to)
                    elif what == "step":
                        job.step("clean-up", note, to, "step-in-clean-up")
                    else:
                        job.sleep(0.01)
                except BaseException as again:
                    note(to, f"{what}-{type(again).__name__}")
            if swallows:
                return "swallowed"
            raise
        finally:
            note(to, "finally")


# -- for a bare Job() -------------------------------------------------------------------------------------------------------


class Decision(BaseModel):
    ok: bool


class Picture(BaseModel):
    file: File
    seed: int


@model
def paints(prompt: str, seed: int, *, job: Job) -> Picture:
    job.usage(cost_usd=0.5)
    return Picture(file=File(f"{prompt} {seed}".encode(), name="a.txt"), seed=seed)


@model
async def reads(picture: File) -> str:
    return picture.read().decode()


tried: list[int] = []


@model(retry=Retry(3, backoff=0.01))
def flaky(n: int) -> int:
    tried.append(n)
    if len(tried) < 3:
        raise ValueError("not yet")
    return n


@model
async def whole(brief: str, job: Job) -> list[Any]:
    """All that steps can do."""
    pictures = await job.gather(*(job.call(paints, prompt=brief, seed=seed) for seed in range(2)))
    texts = await job.map(reads, [{"picture": each.file} for each in pictures], limit=1)
    first = await job.first(job.call(broken, name="b", to=brief), job.call(flaky, n=7))
    pair = await job.step("pair", lambda: (1, 2))
    await job.sleep(86_400)
    answer = await job.wait_for("approve", Decision, ask={"texts": texts})
    try:
        await job.wait_for("never", str, timeout=1)
    except StepFailed as error:
        late = error.code
    try:
        await job.run(broken, name="c", to=brief, key="named")
    except StepFailed as error:
        failed = [error.code, error.step]
    try:
        await asyncio.gather(job.run(flaky, n=1, key="same"), job.run(flaky, n=2, key="same"))
    except StepConflict:
        failed.append("conflict")
    return [texts, first, pair, answer.ok, late, failed, job.spent("cost_usd"), job.key("x") == job.key("x"), job.has("pair")]


@model
def whole_sync(brief: str, job: Job) -> list[Any]:
    """The same in plain code."""
    pictures = job.gather(*(job.call(paints, prompt=brief, seed=seed) for seed in range(2)))
    texts = job.map(reads, [{"picture": each.file} for each in pictures], limit=1)
    first = job.first(job.call(broken, name="b", to=brief), job.call(flaky, n=7))
    pair = job.step("pair", lambda: (1, 2))
    job.sleep(86_400)
    answer = job.wait_for("approve", Decision, ask={"texts": texts})
    try:
        job.wait_for("never", str, timeout=1)
    except StepFailed as error:
        late = error.code
    try:
        job.run(broken, name="c", to=brief, key="named")
    except StepFailed as error:
        failed = [error.code, error.step]
    job.run(flaky, n=1, key="same")
    try:
        job.run(flaky, n=2, key="same")
    except StepConflict:
        failed.append("conflict")
    return [texts, first, pair, answer.ok, late, failed, job.spent("cost_usd"), job.key("x") == job.key("x"), job.has("pair")]


@model
def shout(text: str, seed: int = 0) -> str:
    return f"{text}{'!' * (seed + 1)}"


@model
def join(texts: list[str]) -> str:
    return " ".join(texts)


@model
async def chained(text: str, job: Job) -> Any:
    return await chain(job, text, shout, fan_out(shout, 2, each="seed"), join)


@model
async def nested(depth: int, job: Job) -> int:
    """Async below async."""
    return 1 + await job.run(nested, depth=depth - 1) if depth else 0


@model
async def unawaited(job: Job) -> str:
    job.run(shout, text="a")
    return "done"
