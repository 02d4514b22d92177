"""The figures for Prometheus, in its text format 0.0.4.

All but one come from the store, so that every replica says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from longrun.observe.output import lost_lines
from longrun.service.overview import ENDS, TIMES, Overview, lanes_of
from longrun.service.parts import Parts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TIMES = {
    "queue": "Time from the queueing of jobs to their claim by a worker.",
    "wait": "Time from a claim until the model's code began: waiting for a runner or a batch, and reading the input.",
    "run": "Time in the model's code.",
    "store": "Time of attempts that was none of these: reading and storing results, waiting for the store.",
}


Sample = tuple[dict[str, str], float] | tuple[dict[str, str], float, str]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its samples are labels and value, and of a histogram the end of their name."""

    name: str
    kind: str
    help: str
    samples: list[Sample] = field(default_factory=list)


def families(parts: Parts, seen: Overview) -> list[Family]:
    """Every metric of the service."""
    waiting = Family("longrun_jobs_waiting", "gauge", "Jobs that wait for a worker.")
    oldest = Family("longrun_jobs_oldest_seconds", "gauge", "Age of the oldest waiting job; 0 when none waits.")
    ended = Family("longrun_jobs_ended_total", "counter", "Jobs that have ended, by how they ended.")
    times = [Family(f"longrun_{what}_seconds_total", "counter", _TIMES[what]) for what in TIMES]
    for lane in lanes_of(parts, seen):
        labels = {"queue": lane.queue, "model": lane.model}
        waiting.samples.extend((labels | {"priority": str(priority)}, n) for priority, n in sorted(lane.by_priority.items()))
        oldest.samples.append((labels, lane.oldest_s or 0))
    for model, counters in sorted(seen.counters.items()):
        ended.samples.extend(({"model": model, "status": what}, counters[what]) for what in sorted(ENDS) if what in counters)
    for model, spent in sorted(seen.times.items()):
        for family, what in zip(times, TIMES, strict=True):
            family.samples.append(({"model": model}, spent.get(what, 0) / 1e6))
    claimed = Family("longrun_jobs_claimed", "gauge", "Jobs that a worker holds.", [({}, seen.claimed)])
    workers = Family("longrun_workers", "gauge", "Workers that are announced.", [({}, len(seen.workers))])
    lost = Family("longrun_log_lines_lost_total", "counter", "Lines that this API process could not write.", [({}, lost_lines())])
    return [waiting, oldest, claimed, workers, ended, *times, _loading(seen), *_batches(seen), *_memory(seen), lost]


def _loading(seen: Overview) -> Family:
    load = Family("longrun_load_seconds", "gauge", "Time that load() and warmup() of a model took, the longest of a worker's runners.")
    for worker in seen.workers:
        for model, entry in sorted(worker.get("models", {}).items()):
            took = [(what, entry.get(f"{what}_s")) for what in ("load", "warmup")]
            load.samples.extend(({"worker": worker["name"], "model": model, "step": what}, s) for what, s in took if s is not None)
    return load


def _batches(seen: Overview) -> list[Family]:
    """What each worker has counted since it started."""
    size = Family("longrun_batch_size", "histogram", "Items of the batches that were sent to runners.")
    wait = Family("longrun_batch_wait_seconds", "histogram", "Time from a job's claim to the start of its batch.")
    for worker in seen.workers:
        for model, entry in sorted(worker.get("models", {}).items()):
            batches = entry.get("batches") or {}
            for family, name in ((size, "size"), (wait, "wait_s")):
                if name in batches:
                    family.samples.extend(_histogram({"worker": worker["name"], "model": model}, batches[name]))
    return [size, wait]


def _histogram(labels: dict[str, str], shown: dict[str, Any]) -> Iterator[Sample]:
    for limit, count in [*shown["buckets"], ["+Inf", shown["count"]]]:
        yield labels | {"le": str(limit)}, count, "_bucket"
    yield labels, shown["sum"], "_sum"
    yield labels, shown["count"], "_count"


def _memory(seen: Overview) -> list[Family]:
    held = Family("longrun_runner_memory_bytes", "gauge", "Resident memory of a runner and what it has started.")
    gpu = Family("longrun_runner_gpu_memory_bytes", "gauge", "GPU memory of a runner, as PyTorch counts it.")
    for worker in seen.workers:
        for number, runner in enumerate(worker.get("runners", [])):
            labels = {"worker": worker["name"], "runner": str(number), "models": ",".join(runner["models"])}
            if runner["memory"] is not None:
                held.samples.append((labels, runner["memory"]))
            gpu.samples.extend((labels | {"kind": kind}, n) for kind, n in (runner["gpu_memory"] or {}).items())
    return [held, gpu]


def render(metrics: Iterable[Family]) -> str:
    """The metrics as text."""
    return "".join(f"{line}\n" for family in metrics for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.kind}"
    for labels, value, *ends in family.samples:
        inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        name = "".join((family.name, *ends))
        yield f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
