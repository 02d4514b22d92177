"""The store does what a worker asks, and the worker never hears of it: every script may be sent twice."""

from __future__ import annotations

import time

import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import LEASE, Cluster
from tests.chaos.program import until

pytestmark = pytest.mark.chaos

MODELS = ["grind", "nap", "spell", "weigh"]


def submit_some(caller: Caller) -> str:
    """One of every kind; the id of the one that raises at first."""
    for model in MODELS:
        caller.submit(model, f"{model} job", 0.5, follow=model == "spell")
    return caller.submit("waver", "raises once", 0.0)


@pytest.mark.cluster(proxied=("worker",))
@pytest.mark.parametrize(
    "script",
    [
        pytest.param("pop", marks=pytest.mark.gate),
        "claim",
        "append",
        "heartbeat",
        "retry_later",
        "finish",
    ],
)
def test_a_script_whose_reply_was_lost_has_one_effect_and_no_job_runs_again(cluster: Cluster, caller: Caller, script: str) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    swallowed = cluster.proxies["worker"].swallow_reply(cluster.sha(script))
    wavering = submit_some(caller)
    until(swallowed.done.is_set, f"a reply to {script} was lost", timeout=20)
    caller.wait_for_all(within=60)
    history = caller.collect()
    judge(history)
    attempts = {job_id: outcome.job["attempt"] for job_id, outcome in history.outcomes.items()}
    assert attempts.pop(wavering) == 2
    assert set(attempts.values()) == {1}
    assert worker.alive


@pytest.mark.parametrize("point", ["after:claim:1", "after:append:1", "after:retry_later:1", "after:finish:1"])
def test_a_worker_that_gives_up_on_an_answer_leaves_no_job_behind(cluster: Cluster, caller: Caller, point: str) -> None:
    worker = cluster.start_worker(CHAOS_FAILPOINT=f"{point}=raise")
    submit_some(caller)
    until(lambda: "failpoint" in worker.log.read_text(), f"it gives up {point}", timeout=40)
    caller.wait_for_all(within=60)
    judge(caller.collect())
    assert worker.alive


def test_a_worker_whose_engine_stalls_beyond_the_lease_is_fenced_and_goes_on(cluster: Cluster, caller: Caller) -> None:
    stalled = cluster.start_worker(CHAOS_FAILPOINT=f"before:heartbeat:3=sleep:{3 * LEASE:g}")
    ids = [caller.submit("nap", f"job {number}", 3.0) for number in range(3)]
    until(lambda: "failpoint" in stalled.log.read_text(), "it stalls", timeout=40)
    caller.wait_for(ids, {"queued"}, within=20)
    caller.wait_for_all(within=60)
    judge(caller.collect())
    assert stalled.alive


@pytest.mark.cluster(proxied=("worker",))
def test_a_worker_whose_connections_lead_nowhere_finds_out_and_takes_jobs_again(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    caller.submit("nap", "before", 0.0)
    caller.wait_for_all()
    time.sleep(1.5)  # it waits for work
    cluster.proxies["worker"].half_open()
    submit_some(caller)
    caller.wait_for_all(within=60)
    judge(caller.collect())
    assert worker.alive
