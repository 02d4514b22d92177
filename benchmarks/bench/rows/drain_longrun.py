"""How fast Longrun workers empty their queue."""

from __future__ import annotations

import asyncio

from bench.longrun_jobs import fill, watch
from bench.stage import Stage


def rate(count: int, workers: int = 1) -> float:
    """Jobs a second from the first job's start to the last job's end, by the times in their records."""
    with Stage() as stage:
        url = stage.valkey()
        ids = asyncio.run(fill(url, count))
        running = [stage.longrun_worker(url) for _ in range(workers)]
        started, finished = asyncio.run(watch(url, ids, running))
        return len(ids) / (finished - started)
