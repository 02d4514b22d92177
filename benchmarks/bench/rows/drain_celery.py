"""How fast one stock Celery worker empties its queue."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

from redis import Redis

from bench.children import Child
from bench.dialects import TEXT
from bench.errors import CheckError
from bench.stage import Pool, Stage

LIMIT = 180.0  # seconds for the worker to empty its queue


def rate(count: int, pool: Pool) -> float:
    """Tasks a second from the first task's end to the last task's end, by the times in their results (which hold no start)."""
    with Stage() as stage:
        url = stage.valkey()
        ids = stage.handwritten_fill(url, count, TEXT)
        worker = stage.handwritten_worker(url, pool)
        with Redis.from_url(url) as redis:
            results = _watch(redis, ids, worker)
    if any(result["status"] != "SUCCESS" for result in results):
        raise CheckError(f"not every task of Celery's {pool} pool succeeded")
    ends = [datetime.fromisoformat(result["date_done"]).timestamp() for result in results]
    return (count - 1) / (max(ends) - min(ends))


def _watch(redis: Redis, ids: list[str], worker: Child) -> list[dict[str, Any]]:
    give_up = time.monotonic() + LIMIT
    keys = [f"celery-task-meta-{task_id}" for task_id in ids]
    while time.monotonic() < give_up:
        worker.check()
        time.sleep(0.1)
        # DBSIZE costs the server nothing; the few keys that are not results only make us look a moment too early.
        if int(redis.dbsize()) < len(keys):
            continue
        found = [json.loads(result) for result in redis.mget(keys) if result is not None]
        if len(found) == len(keys):
            return found
    raise CheckError(f"the Celery worker did not empty its queue within {LIMIT:g} s:\n{worker.tail()}")
