"""How much is measured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of a run. Durations are seconds."""

    rounds: int = 3
    clients: int = 64  #: kept-alive connections of a submitting client
    warm_up: float = 1.0
    window: float = 3.0  #: of a submit measurement
    longrun_jobs: int = 20_000  #: in the queue of a drain; a faster worker needs more of them for a window of the same length
    celery_jobs: int = 5_000
    latency_jobs: int = 300
    jobs_to_the_end: int = 10_000
    rounds_to_the_end: int = 2
    readers: int = 1_000  #: event streams, of one running job each
    events_per_second: int = 5  #: of each of these jobs
    streams_warm_up: float = 6.0  #: until all streams are open and fed
    streams_window: float = 15.0
    uploads: int = 200  #: at once, of 5 MB each
    pictures: int = 20  #: jobs with one of 20 MB


QUICK = Plan(
    rounds=1,
    warm_up=0.5,
    window=1.5,
    longrun_jobs=6_000,
    celery_jobs=1_500,
    latency_jobs=60,
    jobs_to_the_end=2_000,
    rounds_to_the_end=1,
    readers=200,
    streams_warm_up=2.0,
    streams_window=3.0,
    uploads=40,
    pictures=4,
)


def say(text: str) -> None:
    """Progress, beside the results."""
    print(text, file=sys.stderr, flush=True)


def alternate(rounds: int, sides: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure each side once a round, in turned order every other round, so that a machine that slows down favours nobody."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            value = sides[name]()
            values[name].append(value)
            say(f"  round {number + 1}: {name} {value:.4g}")
    return values
