"""Row F12 of the fault matrix: Valkey has no memory left and evicts nothing."""

from __future__ import annotations

import time

import httpx
import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import Cluster
from tests.chaos.program import until

pytestmark = pytest.mark.chaos


def fill(cluster: Cluster) -> None:
    cluster.redis.config_set("maxmemory", "1mb")


def make_room(cluster: Cluster) -> None:
    cluster.redis.config_set("maxmemory", "0")


@pytest.mark.gate
def test_f12_a_full_store_refuses_submits_and_what_it_has_accepted_runs_once_there_is_room(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    running = [caller.submit(model, f"running {model}", 1.5) for model in ("grind", "nap", "spell", "weigh", "pay")]
    waiting = [caller.submit("grind", f"waiting {number}", 0.05) for number in range(20)]
    until(lambda: len(cluster.runs()) >= 5, "some jobs run", timeout=30)
    fill(cluster)
    for _ in range(4):
        refused = caller.submit_once("nap", "too much", 0.0)
        assert (refused.status_code, refused.json()["code"]) == (507, "storage-full"), refused.text
        assert int(refused.headers["Retry-After"]) >= 1
        assert httpx.get(f"{cluster.url}/api/v1/jobs/{waiting[-1]}", timeout=10).status_code == 200
        assert worker.alive
        time.sleep(1.0)
    make_room(cluster)
    late = caller.submit("nap", "there is room", 0.0, within=10)
    caller.wait_for_all(within=60)
    judge(caller.collect())
    assert {*running, *waiting, late} == set(caller.history.outcomes)
    assert {outcome.job["attempt"] for outcome in caller.history.outcomes.values()} == {1}
    assert worker.alive


def test_f12_a_worker_that_starts_while_the_store_is_full_comes_up_and_works_once_there_is_room(cluster: Cluster, caller: Caller) -> None:
    ids = [caller.submit(model, f"{model} {number}", 0.05) for number in range(5) for model in ("grind", "nap", "weigh")]
    fill(cluster)
    worker = cluster.start_worker()
    until(lambda: "model ready" in worker.log.read_text(), "its models are loaded", timeout=40)
    time.sleep(5.0)  # it looks for tickets, announces itself and does chores, all in vain
    assert worker.alive
    make_room(cluster)
    caller.wait_for_all(within=60)
    judge(caller.collect())
    assert set(ids) == set(caller.history.outcomes)
    assert worker.alive


def test_f12_a_worker_may_stop_while_the_store_is_full_and_its_jobs_run_elsewhere(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    ids = [caller.submit("nap", f"held {number}", 20.0) for number in range(3)]
    caller.wait_for(ids, {"running"})
    fill(cluster)
    assert worker.stop(timeout=20) == 0
    make_room(cluster)
    cluster.start_worker()
    caller.wait_for_all(within=60)
    judge(caller.collect())
