"""The API, Valkey or the whole service die while jobs are submitted and run."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import Cluster
from tests.chaos.program import until

pytestmark = pytest.mark.chaos


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Cluster]:
    """`longrun serve`."""
    with Cluster(tmp_path, serve=True) as served:
        yield served


def test_submits_repeated_through_kills_of_the_api_make_one_job_each(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()

    def submit(client: int) -> None:
        for number in range(15):
            caller.submit("nap", f"job {client}.{number}", 0.05)
            time.sleep(0.05)

    clients = [threading.Thread(target=submit, args=(client,)) for client in range(4)]
    for client in clients:
        client.start()
    for _ in range(3):
        time.sleep(0.4)
        cluster.api.kill()
        cluster.start_api()
    for client in clients:
        client.join()
    caller.wait_for_all()
    judge(caller.collect())
    assert len(caller.history.accepted) == 60
    assert listed(caller) == set(caller.history.accepted)


def test_a_submit_whose_answer_was_lost_makes_no_second_job_when_it_is_repeated(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    lost = http.client.HTTPConnection("127.0.0.1", cluster.port)
    body = json.dumps({"input": {"text": "once", "seconds": 0.1}, "metadata": {"key": "k"}})
    lost.request("POST", "/api/v1/models/nap/jobs", body, {"Content-Type": "application/json", "Idempotency-Key": "k"})
    until(lambda: len(listed(caller)) == 1, "the job was accepted", timeout=10)
    cluster.api.kill()
    lost.close()
    cluster.start_api()
    assert listed(caller) == {caller.submit("nap", "once", 0.1, key="k")}
    caller.wait_for_all()
    judge(caller.collect())
    assert len(caller.history.runs) == 1


def listed(caller: Caller) -> set[str]:
    """The ids of all jobs there are."""
    return {job["id"] for job in caller.jobs()}


def test_nothing_is_lost_when_valkey_is_killed_while_jobs_run(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    first = [caller.submit("grind", f"early {number}", 0.2) for number in range(15)]
    until(lambda: len(cluster.runs()) >= 3, "some jobs ran", timeout=30)
    cluster.kill_valkey()
    time.sleep(1.0)
    cluster.restart_valkey()
    later = [caller.submit("nap", f"late {number}", 0.2) for number in range(15)]
    caller.wait_for_all()
    history = caller.collect()
    judge(history)
    assert set(history.outcomes) == {*first, *later}
    assert worker.alive
    assert cluster.api.alive


def test_a_submit_while_valkey_is_away_is_answered_and_succeeds_later(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    cluster.kill_valkey()
    ids: list[str] = []
    client = threading.Thread(target=lambda: ids.append(caller.submit("nap", "patient", 0.1)))
    client.start()
    time.sleep(3.0)
    assert ids == []
    cluster.restart_valkey()
    client.join(20)
    caller.wait_for_all()
    judge(caller.collect())
    assert listed(caller) == set(ids)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "SIGKILL"])
def test_serve_that_was_stopped_and_started_again_loses_no_job(served: Cluster, how: signal.Signals) -> None:
    first = served.programs[0]
    with Caller(served) as caller:
        for number in range(12):
            caller.submit("grind", f"job {number}", 0.3)
        until(lambda: len(served.runs()) >= 3, "some jobs ran", timeout=30)
        if how is signal.SIGKILL:
            first.kill()
            until(served.port_is_free, "the first API is gone", timeout=10)
        else:
            assert first.stop(how) == 0
            assert not first.offspring()
        served.serve()
        caller.wait_for_all()
        judge(caller.collect())
        assert listed(caller) == set(caller.history.accepted)
        assert len(caller.history.accepted) == 12
    until(lambda: not first.offspring(), "no process of the first serve is left", timeout=30)
