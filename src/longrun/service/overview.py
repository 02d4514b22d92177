"""What operators look at: queues, workers, counters, and how many workers a queue needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from longrun import wire
from longrun.errors import Problem
from longrun.service.parts import Parts
from longrun.store.records import LaneDepth

#: How jobs end, and what their time is spent with: waiting in the queue, and in a worker; in the model's code; until the outcome is stored.
ENDS = ("succeeded", "failed", "canceled", "expired")
TIMES = ("queue", "wait", "run", "store")


class UnknownQueue(Problem):
    """No model of this service uses the queue, and no job waits in it."""

    code, status, title = "unknown-queue", 404, "No such queue"


@dataclass(frozen=True, slots=True)
class Overview:
    """One look at everything: the depth of each lane, what workers announce, counters by model, claimed jobs, and what is wrong by part.

    `times`: microseconds by model and what they were spent with: queue, wait, run, store.
    """

    lanes: Sequence[LaneDepth]
    workers: list[dict[str, Any]]
    counters: dict[str, dict[str, int]]
    claimed: int
    trouble: dict[str, str]
    times: dict[str, dict[str, int]]


async def look(parts: Parts) -> Overview:
    """Read all of it."""
    announced, counters, claimed, trouble, times = await parts.store.records.overview()
    workers = [orjson.loads(each) for each in announced]
    return Overview(await parts.store.records.depths(), workers, _by_model(counters), claimed, trouble, _by_model(times))


def _by_model(flat: Mapping[str, int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, value in flat.items():
        model, _, what = name.rpartition(":")
        found[model][what] = value
    return dict(found)


def lanes_of(parts: Parts, seen: Overview) -> list[LaneDepth]:
    """Every lane that has jobs or whose model is served here, by queue and model."""
    known = {(lane.queue, lane.model): lane for lane in seen.lanes}
    for spec in parts.models:
        known.setdefault((spec.queue, spec.name), LaneDepth(spec.queue, spec.name, dict.fromkeys(range(10), 0), None))
    return [known[key] for key in sorted(known)]


def queues(parts: Parts, seen: Overview) -> wire.QueueList:
    """Depth by priority and the age of the oldest waiting job, by queue and, inside it, by model."""
    rows: dict[str, wire.Queue] = {}
    for lane in lanes_of(parts, seen):
        row = rows.setdefault(lane.queue, wire.Queue(lane.queue, 0, None, []))
        waiting = sum(lane.by_priority.values())
        row.queued += waiting
        row.oldest_seconds = _older(row.oldest_seconds, lane.oldest_s)
        by_priority = {str(priority): n for priority, n in sorted(lane.by_priority.items(), reverse=True) if n}
        row.models.append(wire.Lane(lane.model, waiting, by_priority, lane.oldest_s))
    return wire.QueueList(list(rows.values()))


def stats(parts: Parts, seen: Overview) -> wire.Stats:
    """Counts and times per model since the store was made (times: since it has been written by this version or a later one)."""
    names = sorted({spec.name for spec in parts.models} | set(seen.counters))
    return wire.Stats([_stats(seen, name) for name in names])


def _stats(seen: Overview, model: str) -> wire.ModelStats:
    counters, times = seen.counters.get(model, {}), seen.times.get(model, {})
    ended: dict[str, Any] = {what: counters.get(what, 0) for what in ENDS}
    ended |= {f"{what}_s": times.get(what, 0) / 1e6 for what in TIMES}
    return wire.ModelStats(model=model, **ended, batches=_batches(seen, model))


def _batches(seen: Overview, model: str) -> wire.LaneBatches | None:
    """How the batches of the workers that are there now have been since these started; None = there were none."""
    shown = [entry for worker in seen.workers if (entry := worker.get("models", {}).get(model, {}).get("batches"))]
    count, items = (sum(each["size"][what] for each in shown) for what in ("count", "sum"))
    if not count:
        return None
    waits, waited = (sum(each["wait_s"][what] for each in shown) for what in ("sum", "count"))
    return wire.LaneBatches(count, round(items / count, 2), round(waits / waited, 6) if waited else None)


def scale(parts: Parts, seen: Overview, queue: str) -> wire.Scale:
    """How much there is to do in a queue, for an autoscaler: `demand` = waiting and running jobs.

    Raises:
        UnknownQueue
    """
    lanes = [lane for lane in lanes_of(parts, seen) if lane.queue == queue]
    if not lanes:
        raise UnknownQueue(f"There is no queue {queue[:64]}.")
    waiting = sum(sum(lane.by_priority.values()) for lane in lanes)
    oldest = max((lane.oldest_s for lane in lanes if lane.oldest_s is not None), default=None)
    serving = [models for worker in seen.workers if (models := _models_in(worker, queue))]
    running = sum(entry.get("running", 0) for models in serving for entry in models)
    return wire.Scale(queue, waiting + running, waiting, running, oldest, len(serving))


def workers(seen: Overview, *, jobs: bool) -> wire.WorkerList:
    """What the workers announce; `jobs` = with the ids of the jobs they run, whosever they are."""
    return wire.WorkerList(
        [wire.as_it_is({name: value for name, value in worker.items() if jobs or name != "jobs"}) for worker in seen.workers]
    )


def _models_in(worker: dict[str, Any], queue: str) -> list[dict[str, Any]]:
    """The entries of an announced worker's models that take their jobs from the queue."""
    return [entry for entry in worker.get("models", {}).values() if entry.get("queue") == queue]


def _older(a: float | None, b: float | None) -> float | None:
    return max((age for age in (a, b) if age is not None), default=None)
