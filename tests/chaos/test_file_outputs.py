"""Files that models make while a runner is frozen, stopped or out of room, or the store or the blob store is away."""

from __future__ import annotations

import sys
import time

import httpx
import psutil
import pytest
from tests.chaos.blob_store import away, held, left_after_all, stored, swept
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import LEASE, Cluster
from tests.chaos.program import Program, until

from longrun.chores.blob_removal import TRASH_AFTER_S

pytestmark = pytest.mark.chaos

FILM = bytes(range(256)) * 400


def runners(worker: Program) -> list[psutil.Process]:
    return [process for process in worker.offspring() if "longrun.worker.runner" in process.cmdline()]


def meets_its_failpoint(program: Program) -> None:
    until(lambda: "failpoint" in program.log.read_text(), f"{program.name} meets its failpoint", timeout=60)


def check_the_end(cluster: Cluster, caller: Caller, *, expected: str = "succeeded") -> None:
    """The judge's word, also on what is left when all jobs are deleted."""
    caller.wait_for_all(within=60)
    history = caller.collect()
    history.left = left_after_all(cluster, caller)
    judge(history, expected=(expected,))


@pytest.mark.gate
def test_a_runner_that_was_frozen_beyond_its_lease_and_stores_a_file_then_has_stored_it_for_nobody(
    cluster: Cluster, caller: Caller
) -> None:
    zombie = cluster.start_worker(CHAOS_FAILPOINT="before:put:1=stop")
    cluster.workers_ready()
    job_id = caller.submit("develop", "wanted twice", 0.0, film=FILM)
    (runner,) = runners(zombie)
    # What it writes of its failpoint may be left in its pipe.
    until(lambda: runner.status() == psutil.STATUS_STOPPED, "the runner is about to store its file", timeout=30)
    zombie.freeze(tree=False)
    cluster.start_worker()
    caller.wait_for_all(within=60)
    runner.resume()
    until(lambda: any(key.startswith(f"{job_id}/1/") for key in stored(cluster)), "the frozen runner stores its file", timeout=10)
    zombie.thaw(tree=False)
    until(lambda: "stale" in zombie.log.read_text() or "lease lost" in zombie.log.read_text(), "it hears that it was late", timeout=20)
    time.sleep(LEASE / 2)
    assert caller.get(f"/jobs/{job_id}")["attempt"] == 2
    assert not [key for key in swept(cluster) if key.startswith(f"{job_id}/1/")]
    assert len([key for key in stored(cluster) if key.startswith(f"{job_id}/2/")]) == 1
    check_the_end(cluster, caller)


@pytest.mark.cluster(settings={"LONGRUN_LEASE": "5"})
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_job_that_stores_a_file_while_the_store_is_away_ends_with_its_file(cluster: Cluster, caller: Caller, when: str) -> None:
    worker = cluster.start_worker(CHAOS_FAILPOINT=f"{when}:put:1=sleep:1")
    cluster.workers_ready()
    job_id = caller.submit("develop", "meanwhile " * 10_000, 0.0, film=FILM)
    meets_its_failpoint(worker)
    cluster.kill_valkey()
    until(lambda: len([key for key in stored(cluster) if key.startswith(f"{job_id}/1/")]) == 2, "both files are stored", timeout=10)
    time.sleep(0.5)
    cluster.restart_valkey()
    caller.wait_for_all(within=60)
    assert caller.get(f"/jobs/{job_id}")["attempt"] == 1, "the work was not done again"
    check_the_end(cluster, caller)


@pytest.mark.gate
def test_a_blob_store_that_is_away_for_five_seconds_costs_no_work(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    caller.submit("develop", "first of all", 0.0, film=FILM)
    caller.wait_for_all(within=60)
    making = caller.submit("draw", "late", 1.0)
    caller.wait_for([making], {"running"})
    with away(cluster):
        begun = time.monotonic()
        answer = caller.submit_once("develop", "not now", 0.0, key="a-key", film=FILM)
        assert (answer.status_code, answer.json()["code"]) == (503, "storage-unavailable")
        assert caller.status(caller.submit("nap", "no file", 0.0)) != "failed"
        time.sleep(5 - (time.monotonic() - begun))
        assert caller.status(making) == "running"
    caller.submit("develop", "not now", 0.0, key="a-key", film=FILM)
    check_the_end(cluster, caller)
    assert caller.history.outcomes[making].job["attempt"] == 1


def test_a_job_that_reads_its_file_while_the_blob_store_is_away_waits_for_it(cluster: Cluster, caller: Caller) -> None:
    caller.submit("develop", "wants to read", 0.0, film=FILM)
    caller.submit("nap", "a large input " * 10_000, 0.0)
    with away(cluster):
        cluster.start_worker()
        caller.wait_for(caller.history.accepted, {"running"})
        time.sleep(2)
    check_the_end(cluster, caller)
    assert {outcome.job["attempt"] for outcome in caller.history.outcomes.values()} == {1}


def allow(worker: Program, size: int) -> None:
    """No file of its runners may be larger from now on, as on a disk that is full."""
    for runner in runners(worker):
        runner.rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))


@pytest.mark.parametrize("model", ["draw", "sketch"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_is_told_to_stop_while_it_stores_a_file_hands_the_job_over_whole(
    cluster: Cluster, caller: Caller, model: str, when: str
) -> None:
    worker = cluster.start_worker(CHAOS_FAILPOINT=f"{when}:put:2=sleep:30")
    cluster.workers_ready()
    job_id = caller.submit(model, "handed over", 0.0)
    meets_its_failpoint(worker)
    assert worker.stop() == 0
    cluster.start_worker()
    caller.wait_for_all(within=60)
    assert [run.attempt for run in cluster.runs()] == [1, 2]
    output = caller.get(f"/jobs/{job_id}")["output"]
    kept = [key.rpartition("/")[2] for key in swept(cluster) if key.startswith(f"{job_id}/2/")]
    assert sorted(kept) == sorted(file["id"] for file in output)
    check_the_end(cluster, caller)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes")
@pytest.mark.parametrize("room", ["soon", "never"])
def test_a_runner_whose_disk_is_full_waits_for_room_and_then_says_so(cluster: Cluster, caller: Caller, room: str) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    allow(worker, 50_000)
    job_id = caller.submit("write", "100 KB", 0.0)
    until(lambda: "has no room" in worker.log.read_text(), "the disk is full", timeout=20)
    caller.submit("nap", "needs no room", 0.0)
    assert held(cluster) == [], "the half of it has gone"
    if room == "soon":
        allow(worker, psutil.RLIM_INFINITY)
        check_the_end(cluster, caller)
        assert caller.history.outcomes[job_id].job["attempt"] == 1
        return
    caller.wait_for([job_id], {"failed"}, within=40)
    error = caller.get(f"/jobs/{job_id}")["error"]
    assert (error["code"], error["retryable"]) == ("storage-full", True)
    assert held(cluster) == []
    allow(worker, psutil.RLIM_INFINITY)
    again = httpx.post(f"{cluster.url}/api/v1/jobs/{job_id}/retry").json()["id"]
    until(lambda: caller.get(f"/jobs/{again}")["status"] == "succeeded", "a retry succeeds", timeout=20)


@pytest.mark.parametrize("model", ["draw", "sketch"])
@pytest.mark.parametrize("point", ["before:put:1=sleep:0.5", "after:put:1=sleep:0.5", "after:put:1=sleep:3"])
def test_a_job_that_is_canceled_while_it_stores_a_file_leaves_nothing(cluster: Cluster, caller: Caller, model: str, point: str) -> None:
    worker = cluster.start_worker(CHAOS_FAILPOINT=point)
    cluster.workers_ready()
    job_id = caller.submit(model, "unwanted", 0.0)
    meets_its_failpoint(worker)
    assert httpx.post(f"{cluster.url}/api/v1/jobs/{job_id}/cancel").is_success
    check_the_end(cluster, caller, expected="canceled")


def test_a_thousand_files_of_a_job_go_within_seconds_and_hold_nobody_up(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    cluster.workers_ready()
    job_id = caller.submit("scatter", "1000", 0.0)
    caller.wait_for_all(within=60)
    shown = caller.get(f"/jobs/{job_id}/result")
    assert len(shown) == 1000
    assert len(stored(cluster)) == 1001, "and the output itself"
    begun = time.monotonic()
    caller.delete(job_id)
    assert time.monotonic() - begun < 1
    until(lambda: not held(cluster), "all bytes are gone, by the chores of the cluster", timeout=10 + TRASH_AFTER_S)
    assert {httpx.get(cluster.url + shown[number]["url"]).status_code for number in (0, 500, 999)} == {410}
    assert not [key for key in cluster.redis.keys("longrun:*") if b"uses:" in key or b"needs:" in key or b"let-go" in key]


def test_files_that_a_full_store_does_not_take_are_there_once_it_has_room(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    caller.submit("develop", "first of all", 0.0, film=FILM)
    caller.wait_for_all(within=60)
    before = stored(cluster)
    job_id = caller.submit("scatter", "60", 1.0)
    caller.wait_for([job_id], {"running"})
    cluster.redis.config_set("maxmemory", "1mb")
    answer = caller.submit_once("develop", "not now", 0.0, key="a-key", film=FILM)
    assert (answer.status_code, answer.json()["code"]) == (507, "storage-full")
    until(lambda: len([key for key in stored(cluster) if key.startswith(job_id)]) == 60, "its files are stored", timeout=20)
    time.sleep(LEASE)
    cluster.redis.config_set("maxmemory", "0")
    caller.wait_for_all(within=60)
    job = caller.get(f"/jobs/{job_id}")
    assert [httpx.get(cluster.url + file["url"]).text for file in job["output"]] == [str(number) for number in range(60)]
    assert job["attempt"] == 1
    assert swept(cluster) == before | {key for key in stored(cluster) if key.startswith(job_id)}, "what came in vain is gone"
    caller.submit("develop", "not now", 0.0, key="a-key", film=FILM)
    check_the_end(cluster, caller)
