"""Flows whose steps buy from a provider (provider.py), which counts what it was asked for and under which key."""

import asyncio
import contextlib
import ctypes
import os
import random
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import longrun
from longrun import Failure, Job, StepFailed, model


def note(what: str, job: Job) -> None:
    """One line in one write, so that lines of several processes never mix."""
    log = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(log, f"{what} {job.id} {job.attempt} {os.getpid()}\n".encode())
    finally:
        os.close(log)


def call(step: str, key: str, job: Job, seconds: float) -> str:
    """Pay for `step`; the provider answers after `seconds`."""
    query = urllib.parse.urlencode({"step": step, "key": key, "job": job.id, "attempt": job.attempt, "seconds": seconds})
    with urllib.request.urlopen(f"{os.environ['CHAOS_PROVIDER']}/pay?{query}", timeout=60) as answer:
        text: str = answer.read().decode()
    return text


@model(concurrency=8)
async def buy(step: str, seconds: float, job: Job) -> str:
    """Buy it, beside others."""
    note("begin", job)
    return await asyncio.to_thread(call, step, job.idempotency_key, job, seconds)


@model(concurrency=8)
async def buy_surely(step: str, seconds: float, job: Job) -> str:
    """Buy it, and do not stop before it is there."""
    note("begin", job)
    bought = asyncio.ensure_future(asyncio.to_thread(call, step, job.idempotency_key, job, seconds))
    while not bought.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(bought)
    return bought.result()


@model
def buy_alone(step: str, seconds: float, job: Job) -> str:
    """Buy it, one after the other."""
    note("begin", job)
    return call(step, job.idempotency_key, job, seconds)


@model(concurrency=4)
async def chain(text: str, seconds: float, job: Job) -> list[str]:
    """Five steps, each of which is told of the one before, and one that is bought here."""
    note("begin", job)
    said = ["nothing"]
    for n in range(5):
        said.append(await job.run(buy, step=f"{text}/{n}", seconds=seconds))
        if n == 2:
            said.append(await job.step("here", asyncio.to_thread, call, f"{text}/here", job.key("here"), job, seconds))
    return said[1:]


@model
def chain_sync(text: str, seconds: float, job: Job) -> list[str]:
    """The same in sync code."""
    note("begin", job)
    said = []
    for n in range(5):
        said.append(job.run(buy_alone, step=f"{text}/{n}", seconds=seconds))
        if n == 2:
            said.append(job.step("here", call, f"{text}/here", job.key("here"), job, seconds))
    return said


@model(concurrency=4)
async def fan(text: str, seconds: float, job: Job, width: int = 20) -> list[str]:
    """Many side by side, and one step after all of them."""
    note("begin", job)
    parts = await job.gather(*(job.call(buy, step=f"{text}/{n}", seconds=seconds) for n in range(width)))
    return [*parts, await job.run(buy, step=f"{text}/join", seconds=seconds)]


@model
def fan_sync(text: str, seconds: float, job: Job, width: int = 20) -> list[str]:
    """The same in sync code."""
    note("begin", job)
    parts = job.gather(*(job.call(buy, step=f"{text}/{n}", seconds=seconds) for n in range(width)))
    return [*parts, job.run(buy, step=f"{text}/join", seconds=seconds)]


@model(concurrency=2)
async def nest(text: str, seconds: float, job: Job, depth: int = 2) -> list[str]:
    """Two of itself side by side, `depth` deep, at the bottom a step that buys; on the way up one more."""
    note("begin", job)
    if depth == 0:
        return [await job.run(buy, step=text, seconds=seconds)]
    calls = [job.call(nest, text=f"{text}/{n}", seconds=seconds, depth=depth - 1) for n in range(2)]
    left, right = await job.gather(*calls)
    return [*left, *right, await job.run(buy, step=f"{text}/join", seconds=seconds)]


@model
def nest_sync(text: str, seconds: float, job: Job, depth: int = 2) -> list[str]:
    """The same in sync code, in one slot."""
    note("begin", job)
    if depth == 0:
        return [job.run(buy_alone, step=text, seconds=seconds)]
    calls = [job.call(nest_sync, text=f"{text}/{n}", seconds=seconds, depth=depth - 1) for n in range(2)]
    left, right = job.gather(*calls)
    return [*left, *right, job.run(buy_alone, step=f"{text}/join", seconds=seconds)]


@model(concurrency=4)
async def many(text: str, seconds: float, job: Job, width: int = 10) -> int:
    """Three levels: `width` flows of `width` steps each."""
    note("begin", job)
    calls = [job.call(fan, text=f"{text}/{n}", seconds=seconds, width=width) for n in range(width)]
    return len(await job.gather(*calls))


@model(concurrency=4)
async def poisoned(text: str, seconds: float, job: Job) -> None:
    """Kills the process when its step has ended."""
    note("begin", job)
    await job.run(buy, step=f"{text}/first", seconds=seconds)
    ctypes.string_at(0)


@model(concurrency=4)
async def asks(text: str, seconds: float, job: Job) -> list[Any]:
    """Buys, waits for a word, and buys again."""
    note("begin", job)
    first = await job.run(buy, step=f"{text}/first", seconds=seconds)
    word = await job.wait_for("word", dict, timeout=300)
    again = await job.wait_for("word", dict, timeout=300)
    return [first, word, again, await job.run(buy, step=f"{text}/last", seconds=seconds)]


@model(concurrency=4)
async def sold_out(step: str, seconds: float, job: Job) -> str:
    """Fails until the provider has it, as its first step alone says."""
    note("begin", job)
    said = await asyncio.to_thread(call, step, job.idempotency_key, job, seconds)
    if "none" in said:
        raise Failure("sold out")
    return said


@model(concurrency=4)
async def order(text: str, seconds: float, job: Job) -> list[str]:
    """Five steps, of which the fourth may be sold out."""
    note("begin", job)
    models = [buy, buy, buy, sold_out, buy]
    return [await job.run(each, step=f"{text}/{n}", seconds=seconds) for n, each in enumerate(models)]


@model(concurrency=4)
async def tell(text: str, seconds: float, job: Job) -> AsyncIterator[str]:
    """Streams numbered pieces."""
    note("begin", job)
    for n in range(20):
        await asyncio.sleep(seconds)
        yield f"{job.attempt}:{n} "


@model(concurrency=4)
async def passes_on(text: str, seconds: float, job: Job) -> str:
    """Its reader is told the pieces of its step."""
    note("begin", job)
    return await job.run(tell, text=text, seconds=seconds, stream=True)


@model(concurrency=4)
async def passes_on_twice(text: str, seconds: float, job: Job) -> str:
    """The same through two parents."""
    note("begin", job)
    return await job.run(passes_on, text=text, seconds=seconds, stream=True)


@model(concurrency=8)
async def by_hand(text: str, seconds: float, job: Job) -> list[str]:
    """What steps are the better way for: submits and waits, holding its slot."""
    note("begin", job)
    said = []
    for n in range(2):
        given = {"step": f"{text}/{n}", "seconds": seconds}
        child = await longrun.submit("buy", given, idempotency_key=f"{job.idempotency_key}-{n}")
        said.append(await child.result(timeout=60))
    return said


@model(concurrency=4)
async def gives_up(text: str, seconds: float, job: Job, surely: bool = False) -> list[str]:
    """Fails while its second step is being paid for, when the first has failed."""
    note("begin", job)
    second = asyncio.create_task(job.run(buy_surely if surely else buy, step=f"{text}/second", seconds=seconds))
    try:
        first = await job.run(sold_out, step=f"{text}/first", seconds=0.3)
    except StepFailed as error:
        raise Failure(str(error)) from error
    return [first, await second]


@model(concurrency=8)
async def tick(seconds: float) -> float:
    """When it ended."""
    await asyncio.sleep(seconds)
    return time.time()


@model(concurrency=16)
async def ticks(text: str, seconds: float, job: Job, times: int = 50) -> list[float]:
    """Many waits of 0 to 5 ms; how long after each of them its code went on."""
    note("begin", job)
    dice, late = random.Random(text), []
    for n in range(times):
        ended = await job.run(tick, seconds=dice.choice([0.0, dice.uniform(0.0, 0.005)]), key=f"tick{n}")
        late.append(time.time() - ended)
    return late


@model(concurrency=4)
def ticks_sync(text: str, seconds: float, job: Job, times: int = 50) -> list[float]:
    """The same in sync code."""
    note("begin", job)
    dice, late = random.Random(text), []
    for n in range(times):
        ended = job.run(tick, seconds=dice.choice([0.0, dice.uniform(0.0, 0.005)]), key=f"tick{n}")
        late.append(time.time() - ended)
    return late
