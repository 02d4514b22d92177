"""Many event streams of many running jobs through one API process: how late events are, and what a reader costs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import psutil
import uvloop

from bench.children import Child
from bench.errors import CheckError
from bench.figures import Figure
from bench.plan import Plan, say
from bench.rows.latency import percentile
from bench.stage import Stage
from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.records import NewJob
from longrun.store.store import Store

TENANT = "default"
TICK = 0.02  # seconds between two rounds of the feeder, each with its share of the jobs
OPEN_WITHIN = 30.0  # seconds
NOTE = (
    "One API process, one process of readers, and a feeder that appends progress events as a worker does, on the same machine. Delay: "
    "from the event's own `at` to its receipt. Memory: growth of the API process's RSS divided by the readers, first idle, then at the "
    "end of the feeding."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One round: delays in milliseconds, kilobytes for each reader."""

    delays: list[float]
    idle_kb: float
    busy_kb: float
    cpu: float  #: seconds of the API process for each second of feeding


def measure(plan: Plan) -> list[Figure]:
    """p50 and p99 of the delay, and memory for each reader."""
    rounds = []
    for number in range(plan.rounds):
        seen = _round(plan)
        rounds.append(seen)
        say(
            f"  round {number + 1}: p50 {percentile(seen.delays, 50):.3g} ms, p99 {percentile(seen.delays, 99):.3g} ms, "
            f"max {max(seen.delays):.3g} ms, {seen.idle_kb:.3g} KB idle, {seen.busy_kb:.3g} KB busy, {seen.cpu:.2f} cores"
        )
    what = f"{plan.readers:,} event streams, {plan.events_per_second}/s each"

    def figure(name: str, unit: str, values: list[float], target: str = "") -> Figure:
        return Figure("sse", f"{what}: {name}", unit, "-", values, [], better="lower", target=target, note=NOTE)

    return [
        figure("delay p50", "ms", [percentile(seen.delays, 50) for seen in rounds]),
        figure("delay p99", "ms", [percentile(seen.delays, 99) for seen in rounds], "sse p99"),
        figure("memory a reader, idle", "KB", [seen.idle_kb for seen in rounds]),
        figure("memory a reader, busy", "KB", [seen.busy_kb for seen in rounds], "sse memory"),
        figure("API process", "cores", [seen.cpu for seen in rounds]),
    ]


def _round(plan: Plan) -> Seen:
    with Stage() as stage:
        url = stage.valkey()
        port, api = stage.longrun_api_process(url)
        return uvloop.run(_watch(plan, stage, url, port, api))


async def _watch(plan: Plan, stage: Stage, url: str, port: int, api: Child) -> Seen:
    store = Store(url, Settings(), ticket_template(), timeout=30)
    ids = await _running(store, plan.readers)
    beating = asyncio.create_task(_beat(store, ids))
    try:
        # What the first streams load and allocate belongs to the process, not to a reader.
        await asyncio.to_thread(stage.readers, port, [_path(job_id) for job_id in ids[:20]], warm_up=0.5, seconds=0.5)
        await _open(store, 0)
        before = _rss(api)
        idle = asyncio.create_task(asyncio.to_thread(stage.readers, port, [_path(job_id) for job_id in ids], warm_up=3, seconds=3))
        await _open(store, len(ids))
        await asyncio.sleep(1)
        idle_kb = (_rss(api) - before) / 1024 / len(ids)
        await idle
        await _open(store, 0)
        reading = asyncio.create_task(
            asyncio.to_thread(
                stage.readers, port, [_path(job_id) for job_id in ids], warm_up=plan.streams_warm_up, seconds=plan.streams_window
            )
        )
        await _open(store, len(ids))
        used, begun = _cpu(api), time.monotonic()
        sent = await _feed(store, ids, plan.events_per_second, reading)
        cpu = (_cpu(api) - used) / (time.monotonic() - begun)
        busy_kb = (_rss(api) - before) / 1024 / len(ids)
        result = await reading
        expected = len(ids) * plan.events_per_second * plan.streams_window
        if len(result["delays"]) < 0.9 * expected:
            raise CheckError(f"{len(result['delays'])} events came in the window, {sent} were sent in all, {expected:g} were expected")
        return Seen(result["delays"], idle_kb, busy_kb, cpu)
    finally:
        beating.cancel()
        await store.close()


def _path(job_id: str) -> str:
    return f"/api/v1/jobs/{job_id}/events"


async def _running(store: Store, count: int) -> list[str]:
    ids = [new_job_id() for _ in range(count)]
    policy = Policy().to_json()
    await asyncio.gather(*(store.records.submit(NewJob(job_id, TENANT, "noop", "default", 5, b'{"text":""}', policy)) for job_id in ids))
    await asyncio.gather(*(store.claims.claim(job_id, "n", "feeder", "cpu") for job_id in ids))
    return ids


async def _beat(store: Store, ids: list[str]) -> None:
    """Keep the claims, as a worker does."""
    while True:
        for first in range(0, len(ids), 100):
            await store.claims.heartbeat([(job_id, "1/n") for job_id in ids[first : first + 100]], timeout=10)
        await asyncio.sleep(Settings().heartbeat)


async def _open(store: Store, count: int) -> None:
    """Wait until exactly `count` streams are open, by what the API process listens to."""
    give_up = time.monotonic() + OPEN_WITHIN
    while len(await store.connection.command("PUBSUB", "CHANNELS", store.job_channel("*"))) != count:
        if time.monotonic() > give_up:
            raise CheckError(f"there were not {count} open streams within {OPEN_WITHIN:g} s")
        await asyncio.sleep(0.1)


async def _feed(store: Store, ids: list[str], rate: int, reading: asyncio.Task[dict[str, object]]) -> int:
    """Append `rate` events a second to every job, evenly spread, until the readers are about to leave."""
    shares = round(1 / rate / TICK)
    count, begun = 0, time.monotonic()
    while not reading.done():
        job_ids = ids[count % shares :: shares]
        number = count // shares
        data = b'{"fraction":0.5,"step":%d,"message":"step %d of many"}' % (number, number)
        events = [("progress", data)]
        if not all(await asyncio.gather(*(store.claims.append(job_id, "1/n", number, data, events) for job_id in job_ids))):
            raise CheckError("an event was refused")
        count += 1
        await asyncio.sleep(max(0.0, begun + count * TICK - time.monotonic()))
    return count * len(ids) // shares


def _cpu(child: Child) -> float:
    times = psutil.Process(child.pid).cpu_times()
    return float(times.user + times.system)


def _rss(child: Child) -> int:
    return int(psutil.Process(child.pid).memory_info().rss)
