"""How much is measured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.errors import CheckError


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
    queue_window: float = 2.5  #: of the drain of another task queue: its jobs are as many as it does in that time
    enqueued: int = 3_000  #: jobs by Longrun's client inside a process
    sentences: int = 1_200  #: of the inference row
    rounds_inference: int = 2
    connections: tuple[int, ...] = (64, 256)  #: of a client that sends one request for each sentence; the best is taken
    depths: tuple[int, ...] = (0, 10_000, 100_000, 1_000_000)  #: queued jobs
    depth_sample: int = 3_000  #: submits, and claims, that are measured at each depth
    killed: int = 3  #: workers that are killed, each way
    naps: int = 2_000  #: jobs that wait at once
    nap: int = 2  #: seconds
    widths: tuple[int, ...] = (1, 2, 4)  #: worker processes
    loads: tuple[int, ...] = (10, 25, 50, 75, 90, 100)  #: percent of the capacity
    computed: int = 120  #: jobs that keep the cores busy
    load_window: float = 6.0  #: at each load
    step_width: int = 100  #: steps of a flow that gathers them
    step_flows: int = 50
    step_chain: int = 100  #: steps of a flow that runs them one after the other


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
    queue_window=0.7,
    enqueued=500,
    sentences=256,
    rounds_inference=1,
    connections=(64,),
    depths=(0, 10_000, 50_000),
    depth_sample=1_000,
    killed=1,
    naps=500,
    nap=1,
    widths=(1, 2),
    loads=(10, 50, 90),
    computed=60,
    load_window=2.0,
    step_flows=20,
    step_chain=30,
)


def say(text: str) -> None:
    """Progress, beside the results."""
    print(text, file=sys.stderr, flush=True)


def alternate(
    rounds: int, sides: dict[str, Callable[[], float]], troubles: dict[str, str] | None = None, ours: str = "Longrun"
) -> dict[str, list[float]]:
    """Measure each side once a round, in turned order every other round, so that a machine that slows down favours nobody.

    With `troubles`, a side that fails (other than `ours`) is left out from then on and its reason is put there; otherwise the first failure
    ends it all. Raises CheckError.
    """
    values: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in [name for name in sides if name not in (troubles or ())][:: 1 if number % 2 == 0 else -1]:
            try:
                value = sides[name]()
            except CheckError as error:
                if troubles is None or name == ours:
                    raise
                say(f"  {name} FAILED: {error}")
                troubles[name], values[name] = str(error), []
                continue
            values[name].append(value)
            say(f"  round {number + 1}: {name} {value:.4g}")
    return values
