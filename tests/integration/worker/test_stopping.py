"""Cancel, time limits, crashes and shutdown."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from tests.integration.worker.conftest import Caller
from tests.waiting import PATIENCE

from longrun.jobs.policy import Policy

#: Models of the worker that the tests share.
SHARED = "Sleeper,shout,Crasher"


@pytest.mark.parametrize("ways", [{}, {"deaf": True}, {"deaf": True, "stubborn": True}])
async def test_a_canceled_job_stops(shared: Caller, ways: dict[str, bool]) -> None:
    job_id = await shared.submit("sleeper", seconds=1000, **ways)
    await shared.until(job_id, "running")
    await asyncio.sleep(0.1)
    await shared.store.records.cancel(job_id, "t")
    assert (await shared.end(job_id)).status == "canceled"
    assert orjson.loads((await shared.run("sleeper", seconds=0.01)).output or b"") == "cpu"


async def test_a_canceled_async_job_stops_and_its_neighbours_do_not_notice(shared: Caller) -> None:
    stopped, other = await shared.submit("shout", text="a", seconds=1000), await shared.submit("shout", text="b", seconds=2)
    await shared.until(stopped, "running")
    await shared.until(other, "running")
    await shared.store.records.cancel(stopped, "t")
    assert (await shared.end(stopped)).status == "canceled"
    job = await shared.end(other)
    assert (job.status, job.attempt) == ("succeeded", 1)


@pytest.mark.parametrize("ways", [{}, {"deaf": True, "stubborn": True}])
async def test_a_job_over_its_time_limit_fails_with_timeout(shared: Caller, ways: dict[str, bool]) -> None:
    job = await shared.run("sleeper", seconds=1000, policy=Policy(timeout=0.3), **ways)
    assert job.status == "failed"
    assert orjson.loads(job.error or b"")["code"] == "timeout"


async def test_the_limit_that_was_hit_is_named(shared: Caller) -> None:
    running, total = await asyncio.gather(
        shared.run("shout", text="a", seconds=1000, policy=Policy(timeout=0.3)),
        shared.run("shout", text="a", seconds=1000, policy=Policy(timeout=60, total_timeout=0.5)),
    )
    assert "its timeout of 0.3 s" in orjson.loads(running.error or b"")["detail"]
    assert "its total_timeout of 0.5 s" in orjson.loads(total.error or b"")["detail"]


@pytest.mark.parametrize("how", ["segfault", "exit"])
async def test_a_job_that_kills_its_runner_fails_after_its_crash_budget(shared: Caller, how: str) -> None:
    job = await shared.run("crasher", how=how, policy=Policy(max_crashes=2))
    assert job.status == "failed"
    error = orjson.loads(job.error or b"")
    assert error["code"] == "worker-lost"
    assert ("SIGSEGV" if how == "segfault" else "exit code 3") in error["detail"]
    assert job.attempt == 2


async def test_a_crash_is_not_the_end_when_the_next_attempt_survives(shared: Caller, tmp_path: Path) -> None:
    job = await shared.run("crasher", how="exit", marker=str(tmp_path / "crashed"))
    assert (job.status, job.attempt) == ("succeeded", 2)


@pytest.mark.parametrize("lease", [2])
async def test_twenty_running_jobs_survive_the_death_of_their_worker(start_worker: Any, caller: Caller) -> None:
    """The sentence of the issue: SIGKILL of the worker while 20 jobs run; all finish after a new worker starts, none twice."""
    first = start_worker(models="shout")
    await caller.ready("shout")
    ids = [await caller.submit("shout", text=f"n{n}", seconds=4) for n in range(20)]
    for job_id in ids:
        await caller.until(job_id, "running")
    runners = first.runners
    first.kill()
    _, alive = psutil.wait_procs(runners, timeout=PATIENCE)
    assert alive == []
    start_worker(models="shout")
    jobs = [await caller.end(job_id, timeout=60) for job_id in ids]
    assert [orjson.loads(job.output or b"") for job in jobs] == [f"N{n}" for n in range(20)]
    for job in jobs:
        events = (await caller.store.records.events(job.id, "t", 0, 1000)).events
        assert [event.type for event in events].count("done") == 1
        outcomes = [attempt.outcome for attempt in await caller.store.records.attempts(job.id, "t")]
        assert outcomes == ["crashed", "succeeded"]


@pytest.mark.parametrize("lease", [2])
async def test_a_worker_that_wakes_up_late_cannot_overwrite_the_newer_attempt(start_worker: Any, caller: Caller) -> None:
    first = start_worker(models="Sleeper")
    job_id = await caller.submit("sleeper", seconds=3, deaf=True)
    await caller.until(job_id, "running")
    first.kill(signal.SIGSTOP)
    start_worker(models="Sleeper")
    job = await caller.end(job_id, timeout=40)
    assert (job.status, job.attempt) == ("succeeded", 2)
    first.kill(signal.SIGCONT)
    await asyncio.sleep(2)
    after = await caller.read(job_id)
    assert (after.version, after.worker) == (job.version, job.worker)


async def test_a_stopping_worker_hands_its_jobs_back_at_once_and_leaves_nothing_running(start_worker: Any, caller: Caller) -> None:
    worker = start_worker(models="Sleeper,shout", LONGRUN_GRACE="5")
    await caller.ready("sleeper")
    short, long = await caller.submit("shout", text="x", seconds=0.5), await caller.submit("sleeper", seconds=18)
    await caller.until(short, "running")
    await caller.until(long, "running")
    runners = worker.runners
    assert worker.stop() == 0
    assert [runner for runner in runners if runner.is_running() and runner.status() != psutil.STATUS_ZOMBIE] == []
    assert (await caller.read(short)).status == "succeeded"
    job = await caller.read(long)
    assert (job.status, job.position) == ("queued", 1)
    assert [attempt.outcome for attempt in await caller.store.records.attempts(long, "t")] == ["released"]


async def test_a_model_that_does_not_load_keeps_its_jobs_waiting_until_it_does(start_worker: Any, caller: Caller, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    start_worker("--queues", "moody", MOODY=str(weights))
    job_id = await caller.submit("moody", "moody")

    async def announced() -> dict[str, Any]:
        workers, *_ = await caller.store.records.overview()
        return dict(orjson.loads(workers[0])["models"]["moody"]) if workers else {"state": "not there"}

    for _ in range(1200):
        if (await announced())["state"] == "unhealthy":
            break
        await asyncio.sleep(0.05)
    entry = await announced()
    assert entry["state"] == "unhealthy"
    assert "OSError" in entry["last_failure"]
    assert "weights" not in entry["last_failure"]
    job = await caller.read(job_id)
    assert (job.status, job.attempt) == ("queued", 0)
    weights.touch()
    done = await caller.end(job_id)
    assert (done.status, done.attempt) == ("succeeded", 1)


async def test_runners_die_with_their_worker(start_worker: Any, caller: Caller) -> None:
    worker = start_worker(models="Noop,shout")
    await caller.ready()
    runners = worker.runners
    assert runners
    worker.kill()
    _, alive = psutil.wait_procs(runners, timeout=PATIENCE)
    assert alive == []
