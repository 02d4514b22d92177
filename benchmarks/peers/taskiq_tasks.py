"""Taskiq: a broker on a Redis stream (acknowledged when executed) or on a list (lost with the worker), results in Redis."""

import asyncio
import os

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

from peers.side_by_side import side_by_side

URL = os.environ["REDIS_URL"]
BROKERS = {"stream": RedisStreamBroker, "list": ListQueueBroker}
results = RedisAsyncResultBackend(URL, result_ex_time=3600)
broker = BROKERS[os.environ.get("BROKER", "stream")](URL).with_result_backend(results)


@broker.task
async def noop(text: str) -> str:
    """Return the text."""
    return text


@broker.task
async def nap(seconds: float) -> float:
    """Wait."""
    await asyncio.sleep(seconds)
    return seconds


def fill(count: int, text: str) -> list[str]:
    """Enqueue; `text` that is a number makes a nap of so many seconds."""
    return asyncio.run(_fill(count, text))


async def _fill(count: int, text: str) -> list[str]:
    await broker.startup()
    try:
        one = (lambda _: nap.kiq(float(text))) if text.isdigit() else (lambda _: noop.kiq(text))
        return [task.task_id for task in await side_by_side(range(count), one)]
    finally:
        await broker.shutdown()


def check(ids: list[str], text: str) -> int:
    """How many have the right result."""
    return asyncio.run(_check(ids, float(text) if text.isdigit() else text))


async def _check(ids: list[str], expected: object) -> int:
    await broker.startup()
    try:
        found = await side_by_side(ids, results.get_result)
        return sum(not each.is_err and each.return_value == expected for each in found)
    finally:
        await broker.shutdown()
