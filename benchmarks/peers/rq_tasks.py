"""RQ: one list of ids, a hash for each job, results in a stream for each job."""

import os

from redis import Redis
from rq import Queue
from rq.job import Job

redis = Redis.from_url(os.environ["REDIS_URL"])
queue = Queue(connection=redis)


def noop(text: str) -> str:
    """Return the text."""
    return text


def fill(count: int, text: str) -> list[str]:
    """Enqueue."""
    return [queue.enqueue(noop, text, result_ttl=3600).id for _ in range(count)]


def check(ids: list[str], text: str) -> int:
    """How many have the right result."""
    return sum(job is not None and job.return_value() == text for job in Job.fetch_many(ids, connection=redis))
