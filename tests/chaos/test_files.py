"""Files when a process dies between a file and its record, or between the record and the output: one output, its bytes, and no orphan."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any

import httpx
import pytest
from tests.chaos.blob_store import stored, swept
from tests.chaos.caller import Caller
from tests.chaos.check import digest, judge
from tests.chaos.cluster import LEASE, Cluster
from tests.chaos.program import Program, until

pytestmark = pytest.mark.chaos

MODELS = ["draw", "sketch", "write"]


def proved(text: str, attempt: int) -> dict[str, Any]:
    return {"digest": digest(text), "attempt": attempt}


def check_outputs(cluster: Cluster, caller: Caller) -> set[str]:
    """Every output is the right one, bytes and all, by the attempt that the record names. Ids of the files that it names."""
    named: set[str] = set()
    with httpx.Client(base_url=cluster.url, timeout=10, follow_redirects=True) as http:
        for job_id, ask in caller.history.accepted.items():
            job = caller.history.outcomes[job_id].job
            output = http.get(f"/api/v1/jobs/{job_id}/result").raise_for_status().json()
            if ask.model == "write":
                assert output == [proved(ask.text, job["attempt"]), "x" * 100_000]
                continue
            assert [each["name"] for each in output] == ["a.txt", "b.txt"]
            for each, part in zip(output, "ab", strict=True):
                data = http.get(each["url"]).raise_for_status().content
                assert data.decode() == f"{proved(ask.text + part, job['attempt'])}"
                assert each["digest"] == "sha-256=" + base64.b64encode(hashlib.sha256(data).digest()).decode()
                named.add(each["id"])
    return named


def meets_its_end(program: Program) -> None:
    until(lambda: "failpoint" in program.log.read_text(), f"{program.name} meets its failpoint", timeout=60)
    program.kill_tree()


def check_the_end(cluster: Cluster, caller: Caller) -> None:
    """After the judge: outputs, what is stored, and that nothing is left when the jobs are deleted."""
    caller.wait_for_all(within=60)
    judge(caller.collect())
    named = check_outputs(cluster, caller)
    left = swept(cluster)
    assert named <= {key.rpartition("/")[2] for key in left}
    check_outputs(cluster, caller)
    for job_id in caller.history.accepted:
        httpx.delete(f"{cluster.url}/api/v1/jobs/{job_id}", timeout=10).raise_for_status()
    until(lambda: not swept(cluster), "nothing is left of jobs that are deleted", timeout=20)


@pytest.mark.parametrize(
    "point",
    [
        "before:put:1",
        pytest.param("after:put:2", marks=pytest.mark.gate),
        "after:put:4",
        pytest.param("before:append:1", marks=pytest.mark.gate),
        "after:append:1",
        pytest.param("before:finish:1", marks=pytest.mark.gate),
        "after:finish:1",
    ],
)
def test_a_process_that_dies_beside_a_file_costs_no_output_and_leaves_no_orphan(cluster: Cluster, caller: Caller, point: str) -> None:
    for number, model in enumerate(MODELS):
        caller.submit(model, f"job {number}", 0.2)
    doomed = cluster.start_worker(CHAOS_FAILPOINT=f"{point}=exit")
    meets_its_end(doomed)
    cluster.start_worker()
    check_the_end(cluster, caller)


@pytest.mark.parametrize("model", ["draw", "write"])
def test_bytes_whose_worker_died_before_it_told_of_them_are_swept(cluster: Cluster, caller: Caller, model: str) -> None:
    job_id = caller.submit(model, "twice", 0.2)
    doomed = cluster.start_worker(CHAOS_FAILPOINT="before:append:1=exit")
    meets_its_end(doomed)
    until(lambda: bool(stored(cluster)), "the first attempt has stored something", timeout=10)
    first = stored(cluster)
    assert all(key.startswith(f"{job_id}/1/") for key in first)
    cluster.start_worker()
    caller.wait_for_all(within=60)
    assert first < stored(cluster)
    left = swept(cluster)
    assert left
    assert all(key.startswith(f"{job_id}/2/") for key in left)
    check_the_end(cluster, caller)


@pytest.mark.parametrize("point", ["before:append:1", "before:finish:1"])
def test_what_a_frozen_worker_tells_of_files_beyond_its_lease_is_refused(cluster: Cluster, caller: Caller, point: str) -> None:
    job_id = caller.submit("draw", "wanted twice", 0.2)
    zombie = cluster.start_worker(CHAOS_FAILPOINT=f"{point}=stop")
    until(lambda: "failpoint" in zombie.log.read_text(), f"the worker freezes {point}", timeout=40)
    cluster.start_worker()
    caller.wait_for_all(within=60)
    zombie.thaw(tree=False)
    until(lambda: "stale" in zombie.log.read_text() or "lease lost" in zombie.log.read_text(), "it hears that it was late", timeout=20)
    time.sleep(LEASE / 2)
    judge(caller.collect())
    assert caller.history.outcomes[job_id].job["attempt"] == 2
    check_outputs(cluster, caller)
    told = {key for key in swept(cluster) if key.startswith(f"{job_id}/1/")}
    assert bool(told) == (point == "before:finish:1"), "what it told of in time lives with the job, and goes with it"
    check_the_end(cluster, caller)
