"""What a submit and a claim cost when many jobs wait already, and how much of the store a waiting job takes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import uvloop

from bench.curves import Curve
from bench.errors import CheckError
from bench.figures import Figure
from bench.longrun_jobs import open_store, pieces, submit
from bench.plan import Plan, say
from bench.stage import Stage
from longrun.store.store import Store

NOTE = (
    "Time of the store's scripts inside the server for each job (usec of EVALSHA in INFO commandstats), 500 calls in flight; several "
    "rounds at each depth, at the empty queue before and after the others. Bytes: growth of `used_memory` while the queue was filled, "
    "divided by the jobs; the server's tables for its keys are in it."
)
REPEAT = 3  # measurements at each depth


@dataclass(frozen=True, slots=True)
class Cost:
    """At one depth: microseconds of the server for each submit and each claim, and how many a second there were."""

    depth: int
    submit: list[float]
    claim: list[float]
    submits: list[float]
    claims: list[float]


def measure(plan: Plan) -> list[Figure | Curve]:
    """At each depth, filled once, from the empty queue on."""
    with Stage() as stage:
        costs, kilobytes = uvloop.run(_all(plan, stage.valkey()))
    with Stage() as stage:
        empty = costs[0] = uvloop.run(_again(plan, stage.valkey(), costs[0]))
    deepest = costs[-1]

    def figure(what: str, unit: str, deep: list[float], shallow: list[float], target: str = "") -> Figure:
        peer, better = "an empty queue", "lower" if unit == "us" else "higher"
        return Figure("depth", f"{what} at {deepest.depth:,} queued jobs", unit, peer, deep, shallow, better, target, note=NOTE)  # type: ignore[arg-type]

    return [
        figure("submit", "us", deepest.submit, empty.submit, "submit at depth"),
        figure("claim", "us", deepest.claim, empty.claim, "claim at depth"),
        figure("submits", "1/s", deepest.submits, empty.submits),
        figure("claims", "1/s", deepest.claims, empty.claims),
        Figure("depth", "store per queued job", "KB", "-", [kilobytes], [], "lower", "bytes", note=NOTE),
        Curve(
            "depth",
            "Cost of a job in the store, by jobs that wait",
            "queued jobs",
            "server time, us per job",
            {
                "submit": [(cost.depth, _middle(cost.submit)) for cost in costs],
                "claim": [(cost.depth, _middle(cost.claim)) for cost in costs],
            },
            "x",
        ),
    ]


async def _all(plan: Plan, url: str) -> tuple[list[Cost], float]:
    """The cost at each depth; kilobytes that each job took that was only put there to wait."""
    costs, queued, grown = list[Cost](), 0, 0
    async with open_store(url) as store:
        await _cost(store, plan, 0)  # not counted: it loads the scripts, and grows what the server grows once
        await store.connection.command("FLUSHALL")
        for depth in plan.depths:
            begun, before = time.monotonic(), await _used(store)
            await submit(store, depth - queued)
            grown, queued = grown + await _used(store) - before, depth
            say(f"  {depth:,} queued jobs, filled in {time.monotonic() - begun:.0f} s")
            costs.append(await _cost(store, plan, depth))
    return costs, grown / queued / 1024


async def _cost(store: Store, plan: Plan, depth: int) -> Cost:
    cost = Cost(depth, [], [], [], [])
    for _ in range(REPEAT):
        await store.connection.command("CONFIG", "RESETSTAT")
        begun = time.perf_counter()
        ids = await submit(store, plan.depth_sample)
        cost.submits.append(len(ids) / (time.perf_counter() - begun))
        cost.submit.append(await _evalsha(store) / len(ids))
        await store.connection.command("CONFIG", "RESETSTAT")
        begun = time.perf_counter()
        claims = []
        for some in pieces(ids):
            claims += await store.claims.claim_all(some, "n", "bench", "cpu")
        cost.claims.append(len(ids) / (time.perf_counter() - begun))
        cost.claim.append(await _evalsha(store) / len(ids))
        if any(claim is None for claim in claims):
            raise CheckError("a job that had just been submitted could not be claimed")
        for first in range(0, len(ids), 500):  # they must not stay in the way of the next measurement
            ended = await asyncio.gather(*(store.claims.finish(job_id, "1/n", "succeeded", b'"x"') for job_id in ids[first : first + 500]))
            if any(status != "succeeded" for status in ended):
                raise CheckError("a claimed job could not be finished")
    say(f"    submit {_middle(cost.submit):.3g} us, {_middle(cost.submits):.0f}/s")
    say(f"    claim {_middle(cost.claim):.3g} us, {_middle(cost.claims):.0f}/s")
    return cost


async def _again(plan: Plan, url: str, empty: Cost) -> Cost:
    """The means of what was measured at an empty queue in the beginning and of the same in the end: machines change their speed."""
    async with open_store(url) as store:
        await _cost(store, plan, 0)  # not counted
        late = await _cost(store, plan, 0)

    def mean(first: list[float], second: list[float]) -> list[float]:
        return [(one + other) / 2 for one, other in zip(first, second, strict=True)]

    return Cost(
        0,
        mean(empty.submit, late.submit),
        mean(empty.claim, late.claim),
        mean(empty.submits, late.submits),
        mean(empty.claims, late.claims),
    )


async def _evalsha(store: Store) -> float:
    """Microseconds that the scripts have run since the last reset."""
    for line in (await store.connection.command("INFO", "commandstats")).decode().splitlines():
        if line.startswith("cmdstat_evalsha:"):
            return float(line.partition("usec=")[2].partition(",")[0])
    raise CheckError("the server has not run a script")


async def _used(store: Store) -> int:
    text = (await store.connection.command("INFO", "memory")).decode()
    return int(text.partition("used_memory:")[2].split()[0])


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
