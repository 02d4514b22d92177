"""Rows F21, F22, F28 for a sync, an async, a generating and a batched model: poison, work that does not stop, cancel against the end."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.chaos.caller import Caller
from tests.chaos.cluster import Cluster
from tests.chaos.program import until

MODELS = Path(__file__).with_name("models_that_do_not_stop.py")
KINDS = ["plain", "waiting", "telling", "together"]
LIMIT = 1.0  # seconds
#: Two seconds over the limit are promised; a busy machine is given more.
SOON = 8.0

pytestmark = [pytest.mark.chaos]
FEW_CRASHES = pytest.mark.cluster(app=MODELS, settings={"LONGRUN_MAX_CRASHES": "3"})
PLAIN = pytest.mark.cluster(app=MODELS)


def neighbours(caller: Caller, model: str) -> list[str]:
    """A job of each other kind, and a later one of the same, which must not notice anything."""
    return [caller.submit(kind, "neighbour", 0.2) for kind in [*(kind for kind in KINDS if kind != model), model]]


@FEW_CRASHES
@pytest.mark.parametrize("model", KINDS)
def test_f21_a_poison_job_begins_as_often_as_its_budget_allows_and_its_neighbours_succeed(
    cluster: Cluster, caller: Caller, model: str
) -> None:
    cluster.start_worker()
    cluster.workers_ready()
    poison = caller.submit(model, "crashes", 0.1)
    others = neighbours(caller, model)
    caller.wait_for([poison], {"failed"}, within=60)
    caller.wait_for(others, {"succeeded"}, within=60)
    job = caller.get(f"/jobs/{poison}")
    assert (job["error"]["code"], job["error"]["signal"]) == ("worker-lost", "SIGSEGV")
    begun = [run for run in cluster.runs() if run.job_id == poison]
    # A crash in company is charged to nobody; alone it counts, three times.
    assert 3 <= len(begun) <= 4
    assert all(caller.get(f"/jobs/{other}")["error"] is None for other in others)


@PLAIN
@pytest.mark.parametrize("how", ["loops", "sleeps", "holds the GIL"])
@pytest.mark.parametrize("model", KINDS)
def test_f22_work_that_does_not_stop_ends_soon_after_its_limit_and_its_neighbours_succeed(
    cluster: Cluster, caller: Caller, model: str, how: str
) -> None:
    cluster.start_worker()
    cluster.workers_ready()
    stuck = caller.submit(model, how, 0.0, policy={"timeout": LIMIT})
    caller.wait_for([stuck], {"running", "failed"})
    begin = time.monotonic()
    others = neighbours(caller, model)
    caller.wait_for([stuck], {"failed"}, within=LIMIT + SOON)
    error = caller.get(f"/jobs/{stuck}")["error"]
    print(f"{model} {how}: {error['stopped_by']} after {error['run_s']} s, seen {time.monotonic() - begin:.2f} s after it began")
    assert error["code"] == "timeout"
    assert error["stopped_by"] in ("exception", "kill", "fenced")
    assert error["run_s"] < LIMIT + SOON
    caller.wait_for(others, {"succeeded"}, within=60)
    charged = [attempt for other in others for attempt in caller.get(f"/jobs/{other}/attempts")["attempts"]]
    assert {attempt["outcome"] for attempt in charged} <= {"succeeded", "released"}


@PLAIN
@pytest.mark.parametrize("model", KINDS)
def test_f28_cancel_against_completion_has_one_winner_told_alike_everywhere(cluster: Cluster, caller: Caller, model: str) -> None:
    cluster.start_worker()
    cluster.workers_ready()
    rng = random.Random(model)
    ends: dict[str, int] = {}
    with httpx.Client(base_url=f"{cluster.url}/api/v1", timeout=20) as http:
        for _ in range(25):
            job_id = caller.submit(model, "race", 0.07)
            time.sleep(rng.random() * 0.15)
            answer: dict[str, Any] = http.post(f"/jobs/{job_id}/cancel").json()
            until(lambda job_id=job_id: http.get(f"/jobs/{job_id}").json()["terminal"], "it has ended", timeout=20)
            job = http.get(f"/jobs/{job_id}").json()
            assert job["status"] in ("succeeded", "canceled")
            assert answer["status"] in ("canceling", job["status"])
            events = http.get(f"/jobs/{job_id}/events", headers={"Accept": "application/json"}).json()["events"]
            assert [event["type"] for event in events].count("done") == 1
            assert events[-1]["data"] == job
            assert http.get(f"/jobs/{job_id}/result").status_code == (200 if job["status"] == "succeeded" else 424)
            assert http.post(f"/jobs/{job_id}/cancel").json() == job
            ends[job["status"]] = ends.get(job["status"], 0) + 1
    print(f"{model}: {ends}")
    assert set(ends) == {"succeeded", "canceled"}
