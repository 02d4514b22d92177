"""arq: asyncio and Redis only."""

import asyncio
import os
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.jobs import Job

from peers.side_by_side import side_by_side

REDIS = RedisSettings(unix_socket_path=os.environ["REDIS_URL"].removeprefix("unix://"))


async def noop(context: dict[str, Any], text: str) -> str:
    """Return the text."""
    return text


async def nap(context: dict[str, Any], seconds: float) -> float:
    """Wait."""
    await asyncio.sleep(seconds)
    return seconds


class WorkerSettings:
    """arq's way to configure a worker; its defaults are 10 jobs at once and a look at the queue every 0.5 s."""

    functions = [noop, nap]  # noqa: RUF012
    redis_settings = REDIS
    max_jobs = int(os.environ.get("MAX_JOBS", "10"))
    poll_delay = float(os.environ.get("POLL_DELAY", "0.5"))


def fill(count: int, text: str) -> list[str]:
    """Enqueue; `text` that is a number makes a nap of so many seconds."""
    return asyncio.run(_fill(count, text))


async def _fill(count: int, text: str) -> list[str]:
    pool = await create_pool(REDIS)
    call = ("nap", float(text)) if text.isdigit() else ("noop", text)
    jobs = await side_by_side(range(count), lambda _: pool.enqueue_job(*call))
    await pool.aclose()
    return [job.job_id for job in jobs if job is not None]


def check(ids: list[str], text: str) -> int:
    """How many have the right result."""
    return asyncio.run(_check(ids, float(text) if text.isdigit() else text))


async def _check(ids: list[str], expected: object) -> int:
    pool = await create_pool(REDIS)
    found = await side_by_side(ids, lambda each: Job(each, pool).result_info())
    await pool.aclose()
    return sum(info is not None and info.success and info.result == expected for info in found)
