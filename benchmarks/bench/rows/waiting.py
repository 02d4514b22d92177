"""Many jobs that wait for something else, at once on one worker: how long all take, and what each costs in memory."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil
from redis import Redis

from bench.children import Child
from bench.figures import Figure
from bench.longrun_jobs import fill, watch
from bench.plan import Plan, alternate, say
from bench.queue_peers import PEERS, QueuePeer, Way
from bench.queue_peers import watch as watch_peer
from bench.stage import HERE, Stage

LOOK_EVERY = 0.05  # seconds
NOTE = (
    "Jobs that wait with `asyncio.sleep`, queued before the worker starts, all allowed at once. Longrun: first start to last end by the"
    " records. Peers: from the first stored result to the last one, and one nap more. Memory: highest RSS of the worker and all below "
    "it, less that of an idle one, divided by the jobs."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """Seconds from first to last, kilobytes for each job."""

    seconds: float
    kilobytes: float


class Peak:
    """The highest memory of a program and all below it while a block runs."""

    def __init__(self, child: Child) -> None:
        self._child, self._over = child, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            self.bytes = max(self.bytes, memory(self._child))


def memory(child: Child) -> int:
    """RSS of a program and all below it."""
    total = 0
    for process in (psutil.Process(child.pid), *child.offspring()):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def measure(plan: Plan) -> list[Figure]:
    """Longrun beside two asynchronous task queues."""
    seen: dict[str, list[Seen]] = {"Longrun": [], "taskiq": [], "arq": []}

    def side(name: str, found: Callable[[], Seen]) -> Callable[[], float]:
        def run() -> float:
            seen[name].append(found())
            say(f"    {name}: {seen[name][-1].seconds:.3g} s, {seen[name][-1].kilobytes:.3g} KB a job")
            return seen[name][-1].seconds

        return run

    troubles: dict[str, str] = {}
    naps = str(plan.naps)
    ways = {
        "taskiq": Way(f"worker {{module}}:broker --log-level WARNING --workers 1 --max-async-tasks {naps}", {"BROKER": "stream"}),
        "arq": Way("{module}.WorkerSettings", {"MAX_JOBS": naps, "POLL_DELAY": "0.05"}),
    }
    sides = {"Longrun": side("Longrun", lambda: _longrun(plan))}
    sides |= {name: side(name, lambda name=name: _peer(plan, PEERS[name], ways[name])) for name in ways}  # type: ignore[misc]
    values = alternate(plan.rounds_inference, sides, troubles)
    what = f"{plan.naps:,} jobs that wait {plan.nap} s at once"
    figures = []
    for name in ways:
        missing, good = troubles.get(name, ""), name not in troubles
        theirs = values[name] if good else []
        figures.append(Figure("async", f"{what}: all done", "s", name, values["Longrun"], theirs, "lower", missing=missing, note=NOTE))
        ours_kb, theirs_kb = [each.kilobytes for each in seen["Longrun"]], [each.kilobytes for each in seen[name]] if good else []
        figures.append(Figure("async", f"{what}: memory a job", "KB", name, ours_kb, theirs_kb, "lower", missing=missing, note=NOTE))
    return figures


def _longrun(plan: Plan) -> Seen:
    with Stage() as stage:
        url, app = stage.valkey(), str(HERE / "sleeper.py")
        worker = stage.longrun_worker(url, app)
        asyncio.run(watch(url, asyncio.run(fill(url, 1, model="nap", data={"seconds": 0})), [worker], "nap"))
        time.sleep(1)
        idle = memory(worker)
    with Stage() as stage:
        url = stage.valkey()
        ids = asyncio.run(fill(url, plan.naps, model="nap", data={"seconds": plan.nap}))
        worker = stage.longrun_worker(url, app)
        with Peak(worker) as peak:
            started, finished = asyncio.run(watch(url, ids, [worker], "nap"))
    return Seen(finished - started, (peak.bytes - idle) / plan.naps / 1024)


def _peer(plan: Plan, peer: QueuePeer, way: Way) -> Seen:
    peer = replace(peer, ways={"wide": way})
    with Stage() as stage:
        idle = _drained(stage, peer, 1, "0", memory)[2]
    with Stage() as stage:
        first, last, most = _drained(stage, peer, plan.naps, str(plan.nap), None)
    return Seen(last - first + plan.nap, (most - idle) / plan.naps / 1024)


def _drained(stage: Stage, peer: QueuePeer, count: int, text: str, after: Callable[[Child], int] | None) -> tuple[float, float, int]:
    """When the first and the last result was seen; the most memory meanwhile, or what `after` says a second later."""
    url = stage.valkey()
    ids, _ = peer.fill(url, count, text, "wide")
    with Redis.from_url(url) as redis:
        before = peer.done(redis)
        worker = peer.worker(stage, url, "wide")
        with Peak(worker) as peak:
            first, _, last = watch_peer(worker, lambda: peer.done(redis) - before, count)
        time.sleep(1)
        most = peak.bytes if after is None else after(worker)
    peer.check(url, ids, text, "wide")
    return first, last, most
