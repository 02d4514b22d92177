"""Flows: steps a second on one worker, what a step costs the store beside a plain job, and a flow whose steps take time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass

import orjson
from flows import DRAWS, SECONDS

from bench.children import Child
from bench.errors import CheckError
from bench.figures import Figure
from bench.longrun_jobs import LIMIT, TENANT, open_store
from bench.plan import Plan, say
from bench.stage import HERE, Stage
from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.jobs.record import JobRecord
from longrun.store.records import NewJob
from longrun.store.store import Store

AT_ONCE = 8
NOTE = (
    "Async flows and steps on one worker and one runner. Steps a second: flows that gather no-op steps, first start to last end of the "
    "flows by their records. Cost: time of the store's scripts (usec of EVALSHA in INFO commandstats), all of them counted, "
    f"{AT_ONCE} at a time: a step that a flow runs and waits for, against a plain job from its submit to its end. Logo: one flow whose "
    "steps wait 2 s, 4 x 6 s side by side, and 3 s."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One round: steps a second; microseconds of the store for a step, and for a plain job; seconds of the logo flow."""

    rate: float
    step: float
    plain: float
    logo: float


def measure(plan: Plan) -> list[Figure]:
    """On a worker of its own each round."""
    rounds = []
    for number in range(plan.rounds):
        seen = asyncio.run(_round(plan))
        rounds.append(seen)
        say(
            f"  round {number + 1}: {seen.rate:.0f} steps/s, {seen.step:.0f} us a step, {seen.plain:.0f} us a plain job, "
            f"logo {seen.logo:.2f} s (sum of its steps {_total():g} s)"
        )
    step, plain = [each.step for each in rounds], [each.plain for each in rounds]
    return [
        Figure("steps", f"steps of {plan.step_width}, gathered", "1/s", "-", [each.rate for each in rounds], [], target="steps", note=NOTE),
        Figure("steps", "store: `job.run` of a no-op", "us", "a plain job, submit to end", step, plain, "lower", "step cost", note=NOTE),
        Figure(
            "steps",
            "logo flow",
            "s",
            "the sum of its steps",
            [each.logo for each in rounds],
            [_total()] * len(rounds),
            "lower",
            "logo",
            note=NOTE,
        ),
    ]


def _total() -> float:
    return SECONDS["analyse"] + DRAWS * SECONDS["draw"] + SECONDS["judge"]


async def _round(plan: Plan) -> Seen:
    with Stage() as stage:
        url = stage.valkey()
        worker = stage.longrun_worker(url, str(HERE / "flows.py"))
        async with open_store(url) as store:
            await _run_all(store, worker, "wide", "flow", [{"n": 5}])  # it is warm then
            flows = await _run_all(store, worker, "wide", "flow", [{"n": plan.step_width}] * plan.step_flows)
            steps = plan.step_width * plan.step_flows
            cost = await _cost(store, _run_all(store, worker, "chain", "flow", [{"n": plan.step_chain}] * AT_ONCE))
            plain = await _cost(store, _plain(store, worker, plan.step_chain))
            (logo,) = await _run_all(store, worker, "logo", "flow", [{}])
    each = AT_ONCE * plan.step_chain
    return Seen(steps / _seconds(flows), cost / each, plain / each, _seconds([logo]))


def _seconds(records: list[JobRecord]) -> float:
    """First start to last end."""
    started = [record.started for record in records if record.started is not None]
    finished = [record.finished for record in records if record.finished is not None]
    return (max(finished) - min(started)) / 1000


async def _run_all(store: Store, worker: Child, model: str, queue: str, inputs: list[dict[str, int]]) -> list[JobRecord]:
    """Their records when they have ended. Raises CheckError."""
    return list(await asyncio.gather(*[_run(store, worker, model, queue, each) for each in inputs]))


async def _plain(store: Store, worker: Child, count: int) -> None:
    async def one_after_the_other() -> None:
        for number in range(count):
            await _run(store, worker, "nothing", "work", {"n": number})

    await asyncio.gather(*[one_after_the_other() for _ in range(AT_ONCE)])


async def _run(store: Store, worker: Child, model: str, queue: str, data: dict[str, int]) -> JobRecord:
    job = NewJob(new_job_id(), TENANT, model, queue, 5, orjson.dumps(data), Policy().to_json())
    await store.records.submit(job)
    give_up = time.monotonic() + LIMIT
    # A plain command, which counts as no script.
    while await store.connection.command("HGET", f"{store.prefix}job:{job.id}", "finished") is None:
        worker.check()
        if time.monotonic() > give_up:
            raise CheckError(f"a job of {model} did not end within {LIMIT:g} s:\n{worker.tail()}")
        await asyncio.sleep(0.002)
    record = await store.records.read(job.id, TENANT)
    if record.status.value != "succeeded":
        raise CheckError(f"a job of {model} ended as {record.status.value}: {record.error!r}")
    return record


async def _cost(store: Store, work: Awaitable[object]) -> float:
    """Microseconds that the scripts run during this."""
    await store.connection.command("CONFIG", "RESETSTAT")
    await work
    for line in (await store.connection.command("INFO", "commandstats")).decode().splitlines():
        if line.startswith("cmdstat_evalsha:"):
            return float(line.partition("usec=")[2].partition(",")[0])
    raise CheckError("the server has not run a script")
