"""Row F6: the power fails, and the store has forgotten its last second while the workers of that second go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.caller import Caller
from tests.chaos.cluster import Cluster
from tests.chaos.program import Program, until

pytestmark = pytest.mark.chaos


def queued_before_the_claim(cluster: Cluster, caller: Caller, first: Program, model: str, seconds: float) -> tuple[str, int]:
    """A job that the worker has claimed, and the length of the append-only file before that."""
    first.freeze(tree=False)
    job_id = caller.submit(model, "", seconds)
    before = append_only_file(cluster).stat().st_size
    first.thaw(tree=False)
    until(lambda: len(cluster.runs()) == 1, "the job runs", timeout=30)
    return job_id, before


def append_only_file(cluster: Cluster) -> Path:
    (log,) = (cluster.folder / "valkey" / "appendonlydir").glob("*.incr.aof")
    return log


def cut_power(cluster: Cluster, before: int) -> None:
    """Valkey dies, and starts on what its file held then. Whoever claims the job next, if only the same worker, gets the same number."""
    cluster.kill_valkey()
    with append_only_file(cluster).open("r+b") as file:
        file.truncate(before)
    cluster.restart_valkey()
    until(lambda: [run.attempt for run in cluster.runs()] == [1, 1], "the number is given again", timeout=30)


def ends(cluster: Cluster, job_id: str) -> int:
    """How many runs of the job came to their end."""
    return sum(line.startswith(f"end {job_id} ") for line in (cluster.folder / "runs.log").read_text().splitlines())


@pytest.mark.parametrize("workers", [1, 2])
def test_f6_of_two_runs_with_one_number_only_the_one_that_the_store_knows_is_heard(cluster: Cluster, caller: Caller, workers: int) -> None:
    first = cluster.start_worker()
    cluster.workers_ready()
    job_id, before = queued_before_the_claim(cluster, caller, first, "sign", 8.0)
    until(lambda: len(caller.get(f"/jobs/{job_id}/output")["output"] or "") > 50, "the first run is heard", timeout=30)
    if workers == 2:
        cluster.start_worker()
        cluster.workers_ready(2)
        first.freeze(tree=False)  # its runner goes on
    cut_power(cluster, before)
    first.thaw(tree=False)
    caller.wait_for([job_id], {"succeeded"}, within=60)
    events = caller.collect().outcomes[job_id].events
    heard = [event["data"]["value"].strip().split("-") for event in events if event["type"] == "output"]
    assert len({name for name, _ in heard}) == 1
    assert [int(number) for _, number in heard] == list(range(100))
    assert [event["type"] for event in events].count("done") == 1
    assert ends(cluster, job_id) == 1, "the run that nobody hears was not stopped"


@pytest.mark.cluster(settings={"LONGRUN_LEASE": "20", "LONGRUN_HEARTBEAT": "10"})
def test_f6_a_worker_that_gets_the_job_of_its_own_forgotten_claim_stops_the_first_run(cluster: Cluster, caller: Caller) -> None:
    """No heartbeat and no event says before the claim that the first one is lost; both runs are in one runner."""
    first = cluster.start_worker()
    cluster.workers_ready()
    job_id, before = queued_before_the_claim(cluster, caller, first, "nap", 8.0)
    cut_power(cluster, before)
    assert len({run.pid for run in cluster.runs()}) == 1
    caller.wait_for([job_id], {"succeeded"}, within=60)
    assert ends(cluster, job_id) == 1
    assert [attempt["outcome"] for attempt in caller.collect().outcomes[job_id].attempts] == ["succeeded"]


def test_a_ticket_that_came_twice_at_once_is_one_run(cluster: Cluster, caller: Caller) -> None:
    """Both are claimed in one call, with one nonce, and the second one is answered like the first."""
    job_id = caller.submit("nap", "", 1.0)
    (tickets,) = (key for key in cluster.redis.keys("longrun:default.nap*"))
    assert cluster.redis.rpush(tickets, *cluster.redis.lrange(tickets, 0, -1)) == 2
    cluster.start_worker()
    caller.wait_for([job_id], {"succeeded"}, within=60)
    after = caller.submit("nap", "", 0.0)
    caller.wait_for([after], {"succeeded"}, within=60)
    assert [run.job_id for run in cluster.runs()] == [job_id, after]
