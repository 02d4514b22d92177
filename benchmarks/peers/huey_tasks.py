"""Huey on Redis: a list, and a hash of results."""

import os

from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["REDIS_URL"])


@huey.task()
def noop(text: str) -> str:
    """Return the text."""
    return text


def fill(count: int, text: str) -> list[str]:
    """Enqueue."""
    return [noop(text).id for _ in range(count)]


def check(ids: list[str], text: str) -> int:
    """How many have the right result."""
    return sum(huey.result(each, preserve=True) == text for each in ids)
