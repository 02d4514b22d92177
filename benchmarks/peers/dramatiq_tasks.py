"""Dramatiq on Redis, with the Results middleware on Redis."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = os.environ["REDIS_URL"]
results = RedisBackend(url=URL)
broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=results, store_results=True))
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(text: str) -> str:
    """Return the text."""
    return text


def fill(count: int, text: str) -> list[str]:
    """Enqueue."""
    return [noop.send(text).message_id for _ in range(count)]


def check(ids: list[str], text: str) -> int:
    """How many have the right result."""
    return sum(noop.message(text).copy(message_id=each).get_result(backend=results) == text for each in ids)
