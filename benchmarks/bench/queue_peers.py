"""The task queues beside Longrun: how each one's worker is started, and how one sees from Redis how many jobs it has done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from redis import Redis

from bench.children import Child
from bench.dialects import TEXT
from bench.environments import program
from bench.errors import CheckError
from bench.stage import HERE, Stage

STALLED = 20.0  # seconds without one more job done
LOOK_EVERY = 0.01  # seconds


class Way(NamedTuple):
    """One way to start a worker: arguments of the program, and environment variables that the peer's module reads."""

    options: str
    env: dict[str, str]


@dataclass(frozen=True, slots=True)
class QueuePeer:
    """A task queue.

    Args:
        name: of its environment, of `peers/<name>_tasks.py`, and of its program unless `command` says otherwise.
        ways: the settings that are tried, by what they are called in the table; the fastest one is compared.
        done: how many jobs have their results stored, up to a constant.
        promise: what becomes of a job whose worker dies.
        first: jobs of the first try of each way, for about two seconds.
    """

    name: str
    ways: dict[str, Way]
    done: Callable[[Redis], int]
    promise: str
    first: int
    command: str = ""

    @property
    def module(self) -> str:
        """Where its tasks are."""
        return f"peers.{self.name}_tasks"

    def fill(self, redis_url: str, count: int, text: str = TEXT, way: str = "") -> tuple[list[str], float]:
        """Enqueue by its own client: the ids, and how many a second that were."""
        told = self._ask(redis_url, ["fill", str(count), text], way)
        return told["ids"], count / told["seconds"]

    def check(self, redis_url: str, ids: list[str], text: str = TEXT, way: str = "") -> None:
        """Raise CheckError unless every job has the right result."""
        good = self._ask(redis_url, ["check"], way, json.dumps({"ids": ids, "text": text}))["good"]
        if good != len(ids) or len(set(ids)) != len(ids):
            raise CheckError(f"{self.name}: {good} of {len(ids)} jobs have the right result")

    def worker(self, stage: Stage, redis_url: str, way: str) -> Child:
        """Start one worker."""
        options = self.ways[way].options.format(module=self.module, url=redis_url).split()
        command = [program(self.name, self.command or self.name), *options]
        return stage.start(f"{self.name}-worker", command, self._env(redis_url, way))

    def _ask(self, redis_url: str, arguments: list[str], way: str, told: str = "") -> Any:
        name = f"{self.name}: {arguments[0]}"
        module = ["peers.command", self.module, *arguments]
        return Stage.result(name, module, self._env(redis_url, way), told, python=program(self.name, "python"))

    def _env(self, redis_url: str, way: str) -> dict[str, str]:
        return {"REDIS_URL": redis_url, "PYTHONPATH": str(HERE)} | (self.ways[way].env if way else {})


def drain(peer: QueuePeer, way: str, count: int) -> tuple[float, float]:
    """Jobs a second of one worker that finds `count` jobs, from its first stored result to its last; and what its client enqueued."""
    with Stage() as stage:
        url = stage.valkey()
        ids, enqueued = peer.fill(url, count, way=way)
        with Redis.from_url(url) as redis:
            before = peer.done(redis)
            begun, first, ended = watch(peer.worker(stage, url, way), lambda: peer.done(redis) - before, count)
        peer.check(url, ids, way=way)
    if first == count:
        raise CheckError(f"{peer.name}: all {count} jobs were done at the first look: they are too few to be timed")
    return (count - first) / (ended - begun), enqueued


def watch(worker: Child, done: Callable[[], int], count: int) -> tuple[float, int, float]:
    """When the first results were seen, how many these were, and when all were there. Times are of the monotonic clock.

    Raises:
        CheckError: the worker ended, or came no further.
    """
    first, begun = 0, 0.0
    latest, changed = 0, time.monotonic()
    while True:
        now, seen = time.monotonic(), done()
        if seen > 0 and not first:
            first, begun = seen, now
        if seen >= count:
            return begun, first, now
        if seen != latest:
            latest, changed = seen, now
        worker.check()
        if now > changed + STALLED:
            raise CheckError(f"{worker.name}: {seen} of {count} jobs, and not one more within {STALLED:g} s:\n{worker.tail()}")
        time.sleep(LOOK_EVERY)


def _taskiq_results(redis: Redis) -> int:
    """Each result is a key; a queue that is a list goes when it is empty."""
    return int(redis.dbsize()) - int(redis.exists("taskiq"))


def _command(name: str, key: str, sign: int, redis: Redis) -> int:
    return sign * int(redis.execute_command(name, key))


_TASKIQ = "worker {module}:broker --log-level WARNING --workers "
_DRAMATIQ = "{module} --skip-logging "

PEERS = {
    "taskiq": QueuePeer(
        "taskiq",
        {
            "stream broker, 1 process": Way(_TASKIQ + "1", {"BROKER": "stream"}),
            "stream broker, 2 processes": Way(_TASKIQ + "2", {"BROKER": "stream"}),
            "list broker, 2 processes": Way(_TASKIQ + "2", {"BROKER": "list"}),
        },
        _taskiq_results,
        "stream: unacknowledged jobs are taken over after 10 minutes; list: lost with the worker",
        1500,
    ),
    "dramatiq": QueuePeer(
        "dramatiq",
        {
            "1 process, 8 threads": Way(_DRAMATIQ + "--processes 1 --threads 8", {}),
            "2 processes, 2 threads": Way(_DRAMATIQ + "--processes 2 --threads 2", {}),
        },
        partial(_command, "HLEN", "dramatiq:default.msgs", -1),
        "acknowledged when done; those of a dead worker are requeued after a minute without its heartbeat",
        1500,
    ),
    "arq": QueuePeer(
        "arq",
        {
            "its defaults": Way("{module}.WorkerSettings", {}),
            "max_jobs=100, poll_delay=0.01": Way("{module}.WorkerSettings", {"MAX_JOBS": "100", "POLL_DELAY": "0.01"}),
        },
        partial(_command, "ZCARD", "arq:queue", -1),
        "kept in the queue until done; a dead worker's jobs run again when its key has expired (job timeout + 10 s)",
        600,
    ),
    "rq": QueuePeer(
        "rq",
        {
            "fork for each job (default)": Way("worker --quiet --url {url}", {}),
            "SimpleWorker": Way("worker --quiet --url {url} --worker-class rq.SimpleWorker", {}),
        },
        partial(_command, "ZCARD", "rq:finished:default", 1),
        "a dead worker's job is marked as failed after its heartbeat has run out, and not run again",
        150,
    ),
    "huey": QueuePeer(
        "huey",
        {
            "1 thread": Way("{module}.huey --quiet --workers 1", {}),
            "2 processes": Way("{module}.huey --quiet --workers 2 --worker-type process", {}),
        },
        partial(_command, "HLEN", "huey.results.bench", 1),
        "popped before it runs: lost with its worker",
        1500,
        command="huey_consumer",
    ),
}
