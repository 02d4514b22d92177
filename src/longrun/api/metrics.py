"""The figures for Prometheus, in its text format 0.0.4. All of them come from the store, so that every replica says the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from longrun.service.overview import Overview, lanes_of
from longrun.service.parts import Parts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its samples are pairs of labels and value."""

    name: str
    kind: str
    help: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)


def families(parts: Parts, seen: Overview) -> list[Family]:
    """Every metric of the service."""
    waiting = Family("longrun_jobs_waiting", "gauge", "Jobs that wait for a worker.")
    oldest = Family("longrun_jobs_oldest_seconds", "gauge", "Age of the oldest waiting job; 0 when none waits.")
    ended = Family("longrun_jobs_ended_total", "counter", "Jobs that have ended, by how they ended.")
    run = Family("longrun_run_seconds_total", "counter", "Running time of ended jobs.")
    for lane in lanes_of(parts, seen):
        labels = {"queue": lane.queue, "model": lane.model}
        waiting.samples.extend((labels | {"priority": str(priority)}, n) for priority, n in sorted(lane.by_priority.items()))
        oldest.samples.append((labels, lane.oldest_s or 0))
    for model, counters in sorted(seen.counters.items()):
        ended.samples.extend(({"model": model, "status": what}, n) for what, n in sorted(counters.items()) if what != "run_ms")
        run.samples.append(({"model": model}, counters.get("run_ms", 0) / 1000))
    claimed = Family("longrun_jobs_claimed", "gauge", "Jobs that a worker holds.", [({}, seen.claimed)])
    workers = Family("longrun_workers", "gauge", "Workers that are announced.", [({}, len(seen.workers))])
    return [waiting, oldest, claimed, workers, ended, run]


def render(metrics: Iterable[Family]) -> str:
    """The metrics as text."""
    return "".join(f"{line}\n" for family in metrics for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.kind}"
    for labels, value in family.samples:
        inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        yield f"{family.name}{{{inside}}} {value!r}" if inside else f"{family.name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
