"""Workers and runners die or freeze while jobs run."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import LEASE, Cluster
from tests.chaos.program import until

pytestmark = pytest.mark.chaos


def twenty_running(caller: Caller) -> list[str]:
    ids = [caller.submit("nap", f"job {number}", 3.0) for number in range(20)]
    caller.wait_for(ids, {"running"})
    return ids


@pytest.mark.parametrize("whole_tree", [True, False], ids=["whole tree", "worker alone"])
def test_jobs_of_a_killed_worker_all_finish_after_a_new_one_starts_and_none_is_completed_twice(
    cluster: Cluster, caller: Caller, whole_tree: bool
) -> None:
    worker = cluster.start_worker()
    ids = twenty_running(caller)
    if whole_tree:
        worker.kill_tree()
    else:
        worker.kill()
        until(lambda: not worker.offspring(), "the runners of a dead worker are gone", timeout=3)
    cluster.start_worker()
    caller.wait_for_all()
    history = caller.collect()
    judge(history)
    assert [history.outcomes[job_id].job["attempt"] for job_id in ids] == [2] * 20


def test_jobs_that_waited_in_a_killed_worker_are_run_once(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    ids = [caller.submit("grind", f"job {number}", 0.2) for number in range(20)]
    until(lambda: len(cluster.runs()) >= 3, "some jobs ran", timeout=30)
    worker.kill_tree()
    cluster.start_worker()
    caller.wait_for_all()
    history = caller.collect()
    judge(history)
    began = [run.job_id for run in history.runs]
    assert all(began.count(job_id) <= 2 for job_id in ids)
    assert sum(began.count(job_id) == 2 for job_id in ids) <= 1, "only the job that was in the runner may have begun twice"


def test_jobs_of_a_killed_runner_run_again_in_the_same_worker(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    ids = twenty_running(caller)
    (runner,) = {run.pid for run in cluster.runs()}
    assert runner != worker.pid
    os.kill(runner, signal.SIGKILL)
    caller.wait_for_all()
    assert worker.alive
    history = caller.collect()
    judge(history)
    assert [history.outcomes[job_id].job["attempt"] for job_id in ids] == [2] * 20


def test_jobs_of_all_models_of_a_killed_runner_run_again(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    ids = [caller.submit(model, f"{model} {number}", 3.0) for number in range(4) for model in ("nap", "spell")]
    caller.wait_for(ids, {"running"})
    (runner,) = {run.pid for run in cluster.runs()}
    os.kill(runner, signal.SIGKILL)
    # Each of them runs alone now, so they take turns across the models.
    caller.wait_for_all(within=60)
    judge(caller.collect())


def test_a_job_that_must_run_alone_is_not_starved_by_other_models_of_its_runner(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    ids = [caller.submit("spell", f"spell {number}", 1.0) for number in range(2)]
    caller.wait_for(ids, {"running"})
    (runner,) = {run.pid for run in cluster.runs()}
    os.kill(runner, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while not all(caller.status(job_id) == "succeeded" for job_id in ids) and time.monotonic() < deadline:
        caller.submit("nap", "busy", 1.0)  # keeps the runner from ever being empty by itself
        time.sleep(0.2)
    assert [caller.status(job_id) for job_id in ids] == ["succeeded"] * 2
    caller.wait_for_all()
    judge(caller.collect())


@pytest.mark.parametrize("whole_tree", [True, False], ids=["whole tree", "worker alone"])
def test_a_worker_that_was_frozen_beyond_its_lease_cannot_overwrite_a_newer_attempt(
    cluster: Cluster, caller: Caller, whole_tree: bool
) -> None:
    zombie = cluster.start_worker()
    ids = [caller.submit("nap", f"job {number}", 2.0) for number in range(5)]
    caller.wait_for(ids, {"running"})
    zombie.freeze(tree=whole_tree)
    other = cluster.start_worker()
    caller.wait_for_all()
    zombie.thaw(tree=whole_tree)
    time.sleep(LEASE)  # it offers what it holds
    history = caller.collect()
    judge(history)
    assert [history.outcomes[job_id].job["attempt"] for job_id in ids] == [2] * 5

    other.stop()
    caller.submit("nap", "after the thaw", 0.1)
    caller.wait_for_all(within=30)
    assert zombie.alive
    judge(caller.collect())


def test_a_stream_that_was_cut_begins_anew_and_is_whole(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    job_id = caller.submit("spell", "all that glitters is not gold", 2.0)
    until(lambda: bool(caller.get(f"/jobs/{job_id}/output")["output"]), "the stream has begun", timeout=30)
    worker.kill_tree()
    cluster.start_worker()
    caller.wait_for_all()
    history = caller.collect()
    judge(history)
    assert {event["attempt"] for event in history.outcomes[job_id].events if event["type"] == "output"} == {1, 2}


def test_a_stopped_worker_hands_its_jobs_back_without_waiting_for_the_lease(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    ids = [caller.submit("nap", f"job {number}", 4.0) for number in range(3)]
    caller.wait_for(ids, {"running"})
    assert worker.stop() == 0
    caller.wait_for(ids, {"queued"}, within=LEASE / 2)
    assert not psutil.pid_exists(worker.pid)
    cluster.start_worker()
    caller.wait_for_all()
    history = caller.collect()
    judge(history)
    assert [history.outcomes[job_id].attempts[0]["outcome"] for job_id in ids] == ["released"] * 3
