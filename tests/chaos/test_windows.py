"""Rows F1 to F3: a process dies in the narrowest places, before and after the store has done what it was asked (failpoints)."""

from __future__ import annotations

import os
import time

import httpx
import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import LEASE, PREFIX, Cluster
from tests.chaos.program import Program, until

pytestmark = pytest.mark.chaos

MODELS = ["grind", "nap", "spell", "weigh"]


def meets_its_end(program: Program) -> None:
    """Wait until a failpoint has ended the program, and end what it left behind."""
    until(lambda: not program.alive, f"{program.name} meets its failpoint", timeout=60)
    program.kill_tree()


def submit_some(caller: Caller, number: int = 6) -> None:
    """Jobs of every kind, and one that raises at first."""
    for n in range(number):
        caller.submit(MODELS[n % 4], f"job {n}", 0.3)
    caller.submit("waver", "raises once", 0.0)


@pytest.mark.parametrize(
    "point",
    [
        "after:pop:1",
        "after:pop:4",
        "before:claim:3",
        pytest.param("after:claim:3", marks=pytest.mark.gate),
        "before:append:2",
        "after:append:2",
        "before:finish:2",
        pytest.param("after:finish:2", marks=pytest.mark.gate),
        "before:retry_later:1",
        "after:retry_later:1",
        "after:heartbeat:1",
    ],
)
def test_f2_a_worker_that_dies_in_the_narrowest_place_costs_no_job(cluster: Cluster, caller: Caller, point: str) -> None:
    submit_some(caller)
    doomed = cluster.start_worker(CHAOS_FAILPOINT=f"{point}=exit")
    meets_its_end(doomed)
    cluster.start_worker()
    caller.wait_for_all(within=60)
    judge(caller.collect())


@pytest.mark.parametrize("point", ["after:claim:2", "before:finish:1", "after:finish:1"])
def test_f7_a_worker_that_freezes_in_the_narrowest_place_and_wakes_beyond_its_lease_changes_nothing(
    cluster: Cluster, caller: Caller, point: str
) -> None:
    submit_some(caller)
    zombie = cluster.start_worker(CHAOS_FAILPOINT=f"{point}=stop")
    until(lambda: "failpoint" in zombie.log.read_text(), f"the worker freezes {point}", timeout=40)
    cluster.start_worker()
    caller.wait_for_all(within=60)
    zombie.thaw(tree=False)
    time.sleep(LEASE)  # it offers what it holds
    judge(caller.collect())
    assert zombie.alive


def test_f2_a_worker_that_dies_while_it_hands_back_costs_no_job(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker(CHAOS_FAILPOINT="after:hand_back:2=exit")
    ids = [caller.submit("nap", f"job {number}", 5.0) for number in range(5)]
    caller.wait_for(ids, {"running"})
    worker.stop()
    cluster.start_worker()
    caller.wait_for_all(within=60)
    judge(caller.collect())


@pytest.mark.parametrize("point", ["before:sweep", "after:sweep"])
def test_f1_a_process_that_dies_in_the_middle_of_a_sweep_costs_no_job(cluster: Cluster, caller: Caller, point: str) -> None:
    doomed = cluster.start_worker()
    ids = [caller.submit("nap", f"job {number}", 5.0) for number in range(3)]
    caller.wait_for(ids, {"running"})
    cluster.api.stop()  # a sweep runs in every process: the one that dies shall be the one that sweeps
    doomed.kill_tree()
    sweeper = cluster.start_worker(CHAOS_FAILPOINT=f"{point}:8=exit")
    meets_its_end(sweeper)
    cluster.start_api()
    cluster.start_worker()
    caller.wait_for_all(within=60)
    judge(caller.collect())


@pytest.mark.parametrize("point", ["before:submit:3", pytest.param("after:submit:3", marks=pytest.mark.gate)])
def test_f3_an_api_that_dies_in_the_middle_of_a_submit_makes_one_job_of_the_repeated_one(
    cluster: Cluster, caller: Caller, point: str
) -> None:
    cluster.start_worker()
    cluster.api.stop()
    doomed = cluster.start_api(CHAOS_FAILPOINT=f"{point}=exit")
    for number in range(5):
        if number == 2:
            with pytest.raises(httpx.TransportError):
                caller.submit_once("nap", "job 2", 0.1, key="key-2")
            doomed.kill()
            cluster.start_api()
        caller.submit("nap", f"job {number}", 0.1, key=f"key-{number}")
    caller.wait_for_all()
    judge(caller.collect())
    assert len(caller.jobs()) == 5


def test_f3_readers_of_event_streams_go_on_where_they_were_when_the_api_is_killed(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    cluster.workers_ready()
    ids = [caller.submit("spell", "all that glitters is not gold, nor silver", 8.0, follow=True) for _ in range(5)]
    for letters in (5, 20):
        until(
            lambda letters=letters: all(len(caller.history.streams[job_id][0]) > letters for job_id in ids),  # type: ignore[misc]
            f"all readers have heard {letters} events",
            timeout=60,
        )
        cluster.api.kill()
        cluster.start_api()
    caller.wait_for_all()
    judge(caller.collect())
    assert {outcome.job["attempt"] for outcome in caller.history.outcomes.values()} == {1}


@pytest.mark.parametrize("model", ["grind", "spell", "weigh"])
def test_f7_what_a_frozen_worker_offers_beyond_its_lease_is_refused(cluster: Cluster, caller: Caller, model: str) -> None:
    zombie = cluster.start_worker()
    job_id = caller.submit(model, "wanted twice", 3.0, follow=True)
    caller.wait_for([job_id], {"running"})
    until(lambda: bool(cluster.runs()), "it runs", timeout=20)
    zombie.freeze(tree=False)
    cluster.start_worker()
    caller.wait_for_all(within=40)
    until(lambda: f"end {job_id} 1 " in (cluster.folder / "runs.log").read_text(), "it has ended in the frozen worker's runner", timeout=20)
    zombie.thaw(tree=False)
    until(lambda: "stale" in zombie.log.read_text() or "lease lost" in zombie.log.read_text(), "it hears that it was late", timeout=20)
    judge(caller.collect())
    assert [run.attempt for run in caller.history.runs] == [1, 2]
    assert caller.history.outcomes[job_id].job["attempt"] == 2


@pytest.mark.parametrize("model", MODELS)
def test_f1_jobs_of_a_killed_runner_run_again_at_once_whatever_kind_they_are(cluster: Cluster, caller: Caller, model: str) -> None:
    worker = cluster.start_worker()
    ids = [caller.submit(model, f"job {number}", 3.0) for number in range(1 if model == "grind" else 3)]
    caller.wait_for(ids, {"running"})
    until(lambda: len(cluster.runs()) == len(ids), "all of them have begun", timeout=20)
    (runner,) = {run.pid for run in cluster.runs()}
    os.kill(runner, 9)
    caller.wait_for_all(within=40)
    judge(caller.collect())
    assert {outcome.job["attempt"] for outcome in caller.history.outcomes.values()} == {2}
    assert worker.alive


@pytest.mark.parametrize("victim", [pytest.param("worker", marks=pytest.mark.gate), "runner"])
def test_an_at_most_once_job_that_began_ends_as_outcome_unknown_and_never_begins_again(
    cluster: Cluster, caller: Caller, victim: str
) -> None:
    worker = cluster.start_worker()
    ids = [caller.submit("pay", f"bill {number}", 5.0) for number in range(3)]
    caller.wait_for(ids, {"running"})
    until(lambda: len(cluster.runs()) == 3, "all have begun", timeout=20)
    if victim == "worker":
        worker.kill_tree()
        cluster.start_worker()
    else:
        os.kill(cluster.runs()[0].pid, 9)
    caller.wait_for_all(within=40)
    after = caller.submit("pay", "a later bill", 0.1)
    caller.wait_for([after], {"succeeded"})
    history = caller.collect()
    judge(history, expected=("failed", "succeeded"))
    assert {history.outcomes[job_id].job["error"]["code"] for job_id in ids} == {"outcome-unknown"}
    assert len(history.runs) == 4
    dead = {job["id"] for job in caller.get("/dead-letters")["jobs"]}
    assert dead == set(ids)
    assert cluster.redis.zcard(f"{PREFIX}lease") == 0
