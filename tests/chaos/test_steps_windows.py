"""P2 and P13 of the proofs of steps: no parent stands still, whatever is paused or cut while it waits; streams through parents."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

import pytest
from tests.chaos.cluster import Cluster
from tests.chaos.program import until
from tests.chaos.trees import APP, Flows

pytestmark = [pytest.mark.chaos, pytest.mark.cluster(app=APP)]


def pauses(seed: int, number: int, *, longest: float) -> str:
    """Failpoints that pause a worker around the scripts of steps, as a machine does that stands still."""
    dice, points = random.Random(seed), {}
    for _ in range(number):
        script = dice.choice(["ask", "resume", "let_go", "finish"])
        points[f"{dice.choice(['before', 'after'])}:{script}:{dice.randint(1, 300)}"] = dice.choice([0.003, 0.02, 0.1, longest])
    return ",".join(f"{point}=sleep:{seconds}" for point, seconds in points.items())


@contextmanager
def pubsub_cut(cluster: Cluster) -> Iterator[None]:
    """No connection that listens lives longer than a moment: next to nothing that is published is heard."""
    over = threading.Event()

    def cut() -> None:
        while not over.wait(0.005):
            cluster.redis.client_kill_filter(_type="pubsub")

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def go_through(flows: Flows, *, trees: int, times: int) -> list[float]:
    """Run so many flows that wait so often; the seconds after each step at which its flow went on, smallest first."""
    for n in range(trees):
        flows.start(["ticks", "ticks_sync"][n % 4 == 0], f"ticks {n}", times=times)
    flows.caller.wait_for_all(within=300)
    flows.judge()
    late = sorted(seconds for outcome in flows.caller.history.outcomes.values() for seconds in outcome.job["output"])
    assert len(late) == trees * times
    median, most = (late[int(len(late) * part)] * 1000 for part in (0.5, 0.99))
    print(f"{len(late)} waits, median {median:.1f} ms, p99 {most:.1f} ms, longest {late[-1]:.2f} s")
    return late


@pytest.mark.parametrize("trees", [pytest.param(8, marks=pytest.mark.gate), 80])
def test_p2_no_parent_stands_still_when_its_steps_end_while_it_comes_to_wait(flows: Flows, trees: int) -> None:
    flows.cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    go_through(flows, trees=trees, times=50)


@pytest.mark.parametrize("rehearse", [False, True], ids=["resident", "let go"])
def test_p2_no_parent_stands_still_when_its_worker_is_paused_around_each_script(flows: Flows, rehearse: bool, seed: int) -> None:
    options = ["--rehearse"] if rehearse else []
    for n in range(2):  # the longest pause is beyond the lease: what it claimed is swept meanwhile
        points = pauses(2 * seed + n, 60, longest=2.5)
        flows.cluster.start_worker(*options, CHAOS_PROVIDER=flows.provider.url, CHAOS_FAILPOINT=points)
    go_through(flows, trees=10, times=20 if rehearse else 50)


@pytest.mark.parametrize("rehearse", [False, True], ids=["resident", "let go"])
def test_p2_no_parent_stands_still_without_pubsub(flows: Flows, rehearse: bool) -> None:
    flows.cluster.start_worker(*(["--rehearse"] if rehearse else []), CHAOS_PROVIDER=flows.provider.url)
    flows.cluster.workers_ready()
    with pubsub_cut(flows.cluster):
        go_through(flows, trees=16, times=6)


@pytest.mark.parametrize("victim", ["runner", "worker", "valkey"])
def test_p13_a_stream_through_two_parents_is_told_once_and_in_order_through_kills(flows: Flows, victim: str) -> None:
    cluster = flows.cluster
    worker = cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    cluster.workers_ready()
    ids = [flows.caller.submit("passes_on_twice", f"stream {n}", 0.1, follow=True) for n in range(3)]
    streams = flows.caller.history.streams
    for heard in (10, 25):
        until(lambda heard=heard: all(len(streams[job_id][0]) > heard for job_id in ids), f"{heard} events are heard", timeout=60)  # type: ignore[misc]
        if victim == "valkey":
            cluster.kill_valkey()
            time.sleep(0.2)
            cluster.restart_valkey()
        elif victim == "runner":
            os.kill(cluster.runs()[-1].pid, 9)
        else:
            worker.kill_tree()
            worker = cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    flows.caller.wait_for_all(within=60)
    flows.judge()
    for job_id in ids:
        told = [event["data"]["value"].split(":") for event in streams[job_id][0] if event["type"] == "step_output"]
        runs = [(attempt, [int(n) for _, n in values]) for attempt, values in groupby(told, key=lambda piece: int(piece[0]))]
        attempts = [attempt for attempt, _ in runs]
        assert attempts == sorted(set(attempts)), runs
        assert all(numbers == list(range(len(numbers))) for _, numbers in runs), runs
        assert runs[-1][1] == list(range(20)), runs
        assert "stream" not in str(flows.caller.get(f"/jobs/{job_id}/output")["output"])
