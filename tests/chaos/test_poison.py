"""Rows F19, F21, F22, F33: models that do not load, kill their process, hold the GIL, or fail inside a batch."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import LEASE, PREFIX, Cluster
from tests.chaos.program import until

pytestmark = pytest.mark.chaos

BUDGET = 3
BUDGETED = {"LONGRUN_MAX_CRASHES": str(BUDGET)}
BADLY = Path(__file__).with_name("models_that_load_badly.py")


def starts(cluster: Cluster, job_id: str) -> int:
    return sum(run.job_id == job_id for run in cluster.runs())


def spent(cluster: Cluster, job_id: str) -> list[bytes | None]:
    """Budgets of a job that were touched."""
    return list(cluster.redis.hmget(f"{PREFIX}job:{job_id}", "errors", "crashes"))


@pytest.mark.cluster(settings=BUDGETED)
@pytest.mark.parametrize("how", ["segfault", "exit", pytest.param("kill", marks=pytest.mark.gate)])
def test_f21_a_job_that_kills_its_process_begins_exactly_as_often_as_its_budget_allows(cluster: Cluster, caller: Caller, how: str) -> None:
    worker = cluster.start_worker()
    job_id = caller.submit("poison", how, 0.1, follow=True)
    caller.wait_for([job_id], {"failed"}, within=60)
    after = caller.submit("nap", "after it", 0.0)
    caller.wait_for_all()
    history = caller.collect()
    judge(history, expected=("failed", "succeeded"))
    assert starts(cluster, job_id) == BUDGET
    assert history.outcomes[job_id].job["error"]["code"] == "worker-lost"
    assert history.outcomes[after].job["status"] == "succeeded"
    assert [job["id"] for job in caller.get("/dead-letters")["jobs"]] == [job_id]
    assert worker.alive


@pytest.mark.cluster(settings=BUDGETED)
@pytest.mark.parametrize(
    "model", [pytest.param("nap", id="in its runner"), pytest.param("weigh", id="in its batch", marks=pytest.mark.gate)]
)
def test_f21_the_neighbours_of_a_job_that_kills_its_process_succeed_and_are_charged_nothing(
    cluster: Cluster, caller: Caller, model: str
) -> None:
    beside = [caller.submit(model, f"beside {number}", 1.0) for number in range(5)]
    culprit = caller.submit(*(("poison", "kill") if model == "nap" else ("weigh", "poison")), 0.3)
    worker = cluster.start_worker()
    caller.wait_for([culprit], {"failed"}, within=60)
    caller.wait_for_all()
    history = caller.collect()
    judge(history, expected=("failed", "succeeded"))
    assert {history.outcomes[job_id].job["status"] for job_id in beside} == {"succeeded"}
    assert [spent(cluster, job_id) for job_id in beside] == [[None, None]] * 5
    assert history.outcomes[culprit].job["error"]["code"] == "worker-lost"
    assert spent(cluster, culprit) == [None, str(BUDGET).encode()]
    assert starts(cluster, culprit) <= BUDGET + 3, "aboard with others nobody is charged, and each time there are fewer of them"
    assert worker.alive


def test_f22_a_job_that_holds_the_gil_for_three_leases_keeps_its_lease(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    held = caller.submit("hold", "deaf", 3 * LEASE)
    caller.wait_for([held], {"running"})
    beside = caller.submit("nap", "waits for the loop", 0.1)
    caller.wait_for_all(within=60)
    history = caller.collect()
    judge(history)
    assert [history.outcomes[job_id].job["attempt"] for job_id in (held, beside)] == [1, 1]
    assert worker.alive


def test_f22_a_job_that_holds_the_gil_is_stopped_by_its_time_limit(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    job_id = caller.submit("hold", "deaf", 60, policy={"timeout": 1})
    caller.wait_for([job_id], {"failed"}, within=40)
    after = caller.submit("nap", "after it", 0.0)
    caller.wait_for([after], {"succeeded"})
    history = caller.collect()
    judge(history, expected=("failed", "succeeded"))
    assert history.outcomes[job_id].job["error"]["code"] == "timeout"
    assert worker.alive


@pytest.mark.cluster(app=BADLY)
def test_f19_jobs_wait_for_a_model_that_loads_slowly_or_only_in_the_end_and_none_fails_by_it(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    ids = {model: caller.submit(model, model, 0.0) for model in ("slow", "flaky", "ready", "broken")}
    caller.wait_for([ids["ready"]], {"succeeded"})
    assert httpx.get(f"{cluster.url}/readyz", timeout=10).status_code == 200
    caller.wait_for([ids["slow"], ids["flaky"]], {"succeeded"}, within=60)

    def state(model: str) -> str:
        (found,) = caller.get("/workers")["workers"]
        return str(found["models"][model]["state"])

    until(lambda: state("broken") == "unhealthy", "the model is called unhealthy", timeout=60)
    assert caller.status(ids["broken"]) == "queued"
    assert caller.get(f"/jobs/{ids['broken']}")["attempt"] == 0
    del caller.history.accepted[ids["broken"]]
    history = caller.collect()
    judge(history)
    assert {outcome.job["attempt"] for outcome in history.outcomes.values()} == {1}
    assert worker.alive


@pytest.mark.parametrize("dies", [False, True], ids=["all goes well", "the worker dies"])
def test_f33_each_item_of_a_batch_gets_its_own_result_whatever_happens_to_the_others(cluster: Cluster, caller: Caller, dies: bool) -> None:
    ids = {text: caller.submit("weigh", text, 4.0) for text in ("one", "two", "bad", "three", "stop")}
    worker = cluster.start_worker()
    caller.wait_for(ids.values(), {"running"})
    until(lambda: len(cluster.runs()) == 5, "the batch runs", timeout=20)
    httpx.post(f"{cluster.url}/api/v1/jobs/{ids['stop']}/cancel", timeout=10).raise_for_status()
    if dies:
        worker.kill_tree()
        cluster.start_worker()
    else:
        caller.wait_for([ids["stop"]], {"canceled"}, within=3.0)
    caller.wait_for_all(within=60)
    history = caller.collect()
    judge(history, expected=("succeeded", "failed", "canceled"))
    ends = {text: history.outcomes[job_id].job["status"] for text, job_id in ids.items()}
    assert ends == {"one": "succeeded", "two": "succeeded", "three": "succeeded", "bad": "failed", "stop": "canceled"}
    assert history.outcomes[ids["bad"]].job["error"]["code"] == "model-error"
