"""Rows F23 and F25: processes whose clock is wrong, and processes of another version."""

from __future__ import annotations

import shutil
import time
from datetime import datetime
from pathlib import Path

import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import LEASE, PREFIX, Cluster

import longrun

pytestmark = pytest.mark.chaos

MODELS = ["grind", "nap", "spell", "weigh"]
TWO_HOURS = 7200


def seconds_between(job: dict[str, str], first: str, second: str) -> float:
    return (datetime.fromisoformat(job[second]) - datetime.fromisoformat(job[first])).total_seconds()


@pytest.mark.parametrize(("api", "worker"), [(TWO_HOURS, -TWO_HOURS), (-TWO_HOURS, TWO_HOURS)], ids=["api ahead", "worker ahead"])
def test_f23_wrong_clocks_make_nothing_start_early_or_run_again(cluster: Cluster, caller: Caller, api: int, worker: int) -> None:
    cluster.api.stop()
    cluster.start_api(CHAOS_CLOCK=str(api))
    cluster.start_worker(CHAOS_CLOCK=str(worker))
    cluster.start_worker()
    cluster.workers_ready(2)
    delayed = [caller.submit("nap", f"delayed {number}", 0.1, delay=3.0) for number in range(3)]
    # Ids begin with the milliseconds of the API's own clock: the row proves something only if that is shifted.
    assert abs(int(delayed[0][4:16], 16) / 1000 - time.time() - api) < 60
    limited = [caller.submit("nap", f"limited {number}", 0.1, policy={"start_within": 30, "total_timeout": 60}) for number in range(3)]
    long = [caller.submit(model, f"long {model}", 2 * LEASE) for model in MODELS]
    wavering = caller.submit("waver", "raises once", 0.0)
    caller.wait_for_all(within=60)
    history = caller.collect()
    judge(history)
    attempts = {job_id: history.outcomes[job_id].job["attempt"] for job_id in [*delayed, *limited, *long]}
    assert set(attempts.values()) == {1}
    assert history.outcomes[wavering].job["attempt"] == 2
    assert all(seconds_between(history.outcomes[job_id].job, "created_at", "started_at") >= 2.9 for job_id in delayed)


@pytest.fixture
def other_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that says it is another version."""
    folder = tmp_path_factory.mktemp("other")
    shutil.copytree(Path(longrun.__file__).parent, folder / "longrun", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "longrun" / "version.py").open("a") as file:
        file.write('VERSION = "99.0"\n')
    return folder


@pytest.mark.parametrize("newer", ["api", "worker"])
def test_f25_two_versions_work_side_by_side_and_unknown_fields_are_passed_over(
    cluster: Cluster, caller: Caller, other_version: Path, newer: str
) -> None:
    other = {"PYTHONPATH": str(other_version)}
    if newer == "api":
        cluster.api.stop()
        cluster.start_api(**other)
    ids = [caller.submit(model, f"{model} {number}", 0.3) for number in range(2) for model in MODELS]
    for job_id in ids:
        key = f"{PREFIX}job:{job_id}"
        policy = cluster.redis.hget(key, "policy")
        cluster.redis.hset(key, mapping={"of_the_future": "1", "policy": policy[:-1] + b',"of_the_future":{"a":[1]}}'})
    cluster.start_worker(**(other if newer == "worker" else {}))
    cluster.start_worker()
    cluster.workers_ready(2)
    versions = {worker["version"] for worker in caller.get("/workers")["workers"]}
    assert ("99.0" in versions, len(versions)) == ((True, 2) if newer == "worker" else (False, 1))
    caller.submit("spell", "followed", 1.0, follow=True)
    caller.wait_for_all(within=60)
    history = caller.collect()
    judge(history)
    assert {outcome.job["attempt"] for outcome in history.outcomes.values()} == {1}
    assert {cluster.redis.hget(f"{PREFIX}job:{job_id}", "of_the_future") for job_id in ids} == {b"1"}
