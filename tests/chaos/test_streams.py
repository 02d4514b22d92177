"""A reader that is cut off fifty times, and whose worker dies, has every event once and in order, and the right output in the end (R5)."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import Cluster
from tests.chaos.program import until
from tests.chaos.proxy import Proxy
from tests.chaos.reader import Reader, assembled

pytestmark = pytest.mark.chaos

CUTS = 50
#: Not two letters alike side by side, so that one that is lost or doubled shows; and some that take more than one byte.
TEXT = "".join(chr(0x61 + n % 26) + chr(0x3B1 + n % 17) for n in range(1500))


class CutReader:
    """Reads a job's events on a thread of its own, from two replicas in turn, through proxies that cut the first fifty connections.

    Args:
        proxies: one for each replica. They cut by themselves: a replica may send all that there is before anybody can ask for a cut.
        dice: after how many bytes each time, the answer's head among them.
    """

    def __init__(self, proxies: list[Proxy], job_id: str, dice: random.Random, *, longest: int = 6_000) -> None:
        self.events: list[dict[str, Any]] = []
        self.fault: str | None = None
        self.reader = Reader([f"http://127.0.0.1:{proxy.port}" for proxy in proxies], job_id, self.events)
        for proxy in proxies:
            proxy.cut_after(*(dice.randint(1, longest) for _ in range(CUTS // len(proxies))))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"cut reader of {job_id}")
        self._thread.start()

    def _read(self) -> None:
        self.fault = self.reader.read(stop=self._closing.is_set)

    def end(self) -> list[dict[str, Any]]:
        """All events, once the last has come."""
        self._thread.join(60)
        self._closing.set()
        assert not self._thread.is_alive() and self.fault is None, (self.fault, len(self.events))
        return self.events


@pytest.fixture
def proxies(cluster: Cluster) -> Iterator[list[Proxy]]:
    """Ways to two replicas."""
    with ExitStack() as stack:
        yield [stack.enter_context(Proxy(port)) for port in (cluster.port, cluster.start_replica())]


def check(events: list[dict[str, Any]], attempts: int = 1) -> None:
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["attempt"] for event in events if event["type"] == "started"] == list(range(1, attempts + 1))
    assert "".join(assembled(events)) == TEXT == events[-1]["data"]["output"]


@pytest.mark.gate
def test_a_reader_that_is_cut_off_fifty_times_misses_nothing(cluster: Cluster, caller: Caller, proxies: list[Proxy], seed: int) -> None:
    cluster.start_worker()
    cluster.workers_ready()
    job_id = caller.submit("spell", TEXT, 6.0)
    live = CutReader(proxies, job_id, random.Random(seed))
    caller.wait_for_all()
    check(live.end())
    assert sum(proxy.cuts for proxy in proxies) == CUTS
    later = CutReader(proxies, job_id, random.Random(seed + 1), longest=3_000)
    check(later.end())
    assert sum(proxy.cuts for proxy in proxies) == 2 * CUTS
    caller.history.streams[job_id] = [live.events, later.events]
    judge(caller.collect(), seed=seed)


@pytest.mark.parametrize("victim", ["worker", "runner"])
def test_a_reader_whose_worker_dies_is_told_to_begin_anew(
    cluster: Cluster, caller: Caller, proxies: list[Proxy], seed: int, victim: str
) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    job_id = caller.submit("spell", TEXT, 4.0)
    reader = CutReader(proxies, job_id, random.Random(seed), longest=4_000)
    until(lambda: len(reader.events) > len(TEXT) / 4, "a part of the text has come", timeout=30)
    if victim == "worker":
        cluster.start_worker()
        worker.kill_tree()
    else:
        (run,) = cluster.runs()
        psutil.Process(run.pid).kill()
    caller.wait_for_all()
    events = reader.end()
    check(events, attempts=2)
    assert len([event for event in events if event["type"] == "output"]) > len(TEXT)
    caller.history.streams[job_id] = [events]
    judge(caller.collect(), seed=seed)
