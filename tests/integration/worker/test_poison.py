"""Jobs that kill their runner: what is said of them, and that nobody else is charged."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import MODELS, Caller

from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.jobs.record import JobRecord
from longrun.settings import Settings

#: One crash that is theirs would fail them.
FRAGILE = Policy(max_crashes=1)
#: Seconds for what takes two on an idle machine.
PATIENCE = 120

#: Models of the worker that the tests share.
SHARED = "Quick,chat,Many,shouts,awkward"


def error(job: JobRecord) -> dict[str, Any]:
    assert job.status == "failed", job.status
    members: dict[str, Any] = orjson.loads(job.error or b"{}")
    return members


async def budgets(caller: Caller, job_id: str) -> tuple[int, int]:
    """The errors and crashes that a job is charged with."""
    values = await caller.store.connection.command("HMGET", f"{caller.store.prefix}job:{job_id}", "errors", "crashes")
    errors, crashes = (int(value or 0) for value in values)
    return errors, crashes


async def all_but_the_poison_succeed(caller: Caller, ids: list[str], poison: str, starts: int) -> list[JobRecord]:
    jobs = [await caller.end(job_id, timeout=PATIENCE) for job_id in ids]
    bad = next(job for job in jobs if job.id == poison)
    assert error(bad)["code"] == "worker-lost"
    assert [job.status.value for job in jobs if job is not bad] == ["succeeded"] * (len(jobs) - 1)
    assert {await budgets(caller, job.id) for job in jobs if job is not bad} == {(0, 0)}
    assert bad.attempt <= starts
    return jobs


async def test_quick_jobs_around_a_poison_job_are_not_charged_for_it(shared: Caller) -> None:
    """Short jobs are sent ahead: what has ended must be told before the next one starts, or the worker blames the wrong one."""
    await shared.end(await shared.submit("quick", "poison"), timeout=PATIENCE)
    ids = await asyncio.gather(*[shared.submit("quick", "poison", policy=FRAGILE, x=n, how="exit" if n == 60 else "") for n in range(120)])
    await all_but_the_poison_succeed(shared, ids, ids[60], starts=4)


async def test_a_poison_job_among_many_async_jobs_fails_alone(shared: Caller) -> None:
    await shared.end(await shared.submit("chat", "poison", x=0), timeout=PATIENCE)
    ids = [await shared.submit("chat", "poison", x=n, seconds=2.0, policy=FRAGILE) for n in range(10)]
    poison = await shared.submit("chat", "poison", x=-1, seconds=0.5, how="kill", policy=FRAGILE)
    jobs = await all_but_the_poison_succeed(shared, [*ids, poison], poison, starts=3)
    (first, *_) = await shared.store.records.attempts(jobs[9].id, "t")
    assert first.outcome == "crashed"
    assert first.error is not None
    assert (first.error["signal"], "with 10 more in it" in first.error["detail"]) == ("SIGKILL", True)


async def test_a_poison_item_of_a_batch_fails_alone(shared: Caller) -> None:
    ids = [await shared.submit("many", "poison", x=n, how="segfault" if n == 3 else "", policy=FRAGILE) for n in range(8)]
    await all_but_the_poison_succeed(shared, ids, ids[3], starts=3)


@pytest.mark.parametrize(
    ("how", "signal", "exit_code"),
    [("segfault", "SIGSEGV", None), ("exit", None, 3), ("kill", "SIGKILL", None)],
    ids=["segfault", "exit", "kill"],
)
async def test_the_error_of_a_poison_job_says_how_its_last_runner_died(
    shared: Caller, how: str, signal: str | None, exit_code: int | None
) -> None:
    # A process inherits the peak of the one that started it, here that of the tests: what it holds itself must be more.
    megabytes = 300 + (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
    poison = await shared.submit("quick", "poison", how=how, megabytes=megabytes, policy=Policy(max_crashes=2))
    job = await shared.end(poison, timeout=PATIENCE)
    found = error(job)
    assert (found["code"], found.get("signal"), found.get("exit_code"), found["attempt"]) == ("worker-lost", signal, exit_code, 2)
    assert megabytes << 20 < found["peak_memory"] < (megabytes + 1700) << 20
    assert ("SIGKILL" in found.get("hint", "")) == (how == "kill")
    for attempt in await shared.store.records.attempts(job.id, "t"):
        assert attempt.outcome == "crashed"
        assert attempt.error is not None
        assert (attempt.error.get("signal"), attempt.error.get("exit_code")) == (signal, exit_code)


@pytest.mark.parametrize("model", ["quick", "chat"])
async def test_a_job_that_runs_at_most_once_ends_with_an_unknown_outcome_when_its_runner_dies(shared: Caller, model: str) -> None:
    policy = Policy(delivery="at_most_once", max_attempts=5)
    job = await shared.end(await shared.submit(model, "poison", x=1, how="segfault", policy=policy), timeout=PATIENCE)
    found = error(job)
    assert (found["code"], found["signal"], job.attempt) == ("outcome-unknown", "SIGSEGV", 1)
    assert "(SIGSEGV). Whether its work was done is not known." in found["detail"]
    dead = await shared.store.records.list("t", cursor=None, look_at=100, since=0, filters=[], index="dead")
    assert job.id in {each.id for each in dead.jobs}
    assert (await shared.read(await shared.store.records.resubmit(job.id, "t", new_job_id()))).retry_of == job.id


@pytest.mark.parametrize("lease", [2])
async def test_a_lost_worker_is_named_and_what_runs_at_most_once_is_not_run_again(start_worker: Any, caller: Caller) -> None:
    first = start_worker("--name", "first", models="chat")
    fragile, once = [
        await caller.submit("chat", "poison", x=1, seconds=1000, policy=policy) for policy in (FRAGILE, Policy(delivery="at_most_once"))
    ]
    for job_id in (fragile, once):
        await caller.until(job_id, "running", timeout=PATIENCE)
    first.kill()
    start_worker(models="chat")
    jobs = [await caller.end(job_id, timeout=PATIENCE) for job_id in (fragile, once)]
    assert [error(job)["code"] for job in jobs] == ["worker-lost", "outcome-unknown"]
    assert [job.attempt for job in jobs] == [1, 1]
    assert all("first" in error(job)["detail"] for job in jobs)


async def test_a_job_that_runs_at_most_once_ends_with_an_unknown_outcome_when_the_grace_is_over(start_worker: Any, caller: Caller) -> None:
    worker = start_worker(models="chat")
    once, often = [
        await caller.submit("chat", "poison", x=1, seconds=1000, policy=Policy(delivery=delivery))
        for delivery in ("at_most_once", "at_least_once")
    ]
    for job_id in (once, often):
        await caller.until(job_id, "running", timeout=PATIENCE)
    assert worker.stop() == 0
    assert (await caller.read(often)).status == "queued"
    found = error(await caller.read(once))
    assert (found["code"], found["detail"].startswith("The worker was stopped before the job had ended.")) == ("outcome-unknown", True)


async def test_a_job_that_runs_at_most_once_may_still_run_when_it_was_only_sent_ahead(shared: Caller) -> None:
    await shared.end(await shared.submit("quick", "poison"), timeout=PATIENCE)
    policy = Policy(delivery="at_most_once")
    ids = await asyncio.gather(*[shared.submit("quick", "poison", policy=policy, x=n, how="exit" if n == 30 else "") for n in range(60)])
    jobs = [await shared.end(job_id, timeout=PATIENCE) for job_id in ids]
    assert [job.id for job in jobs if job.status != "succeeded"] == [ids[30]]
    assert (error(jobs[30])["code"], jobs[30].attempt) == ("outcome-unknown", 1)


async def test_a_timeout_does_not_run_an_at_most_once_job_again(shared: Caller) -> None:
    limits = {"timeout": 0.3, "max_attempts": 3, "backoff": 0}
    policies = [Policy(delivery="at_most_once", **limits), Policy(**limits)]  # type: ignore[arg-type]
    ids = [await shared.submit("shouts", text="a", seconds=9, policy=policy) for policy in policies]
    once, often = [await shared.end(job_id, timeout=PATIENCE) for job_id in ids]
    assert (error(once)["code"], once.attempt, error(often)["code"], often.attempt) == ("timeout", 1, "timeout", 3)


async def test_texts_of_exceptions_that_json_cannot_hold_do_not_end_the_runner(shared: Caller) -> None:
    jobs = [await shared.end(await shared.submit("awkward", kind=kind), timeout=PATIENCE) for kind in ("object", "surrogate", "silent")]
    assert [(job.status.value, job.attempt, error(job)["code"]) for job in jobs] == [("failed", 1, "model-error")] * 3
    assert [error(job)["detail"] for job in jobs] == ["inner", "half \ufffd pair", "The model raised an error (Silent)."]


async def test_an_upstream_that_asks_to_wait_for_ever_is_not_believed(shared: Caller) -> None:
    job_id = await shared.submit("awkward", kind="for ever", policy=Policy(max_attempts=2))
    job = await shared.until(job_id, "retrying", timeout=PATIENCE)
    assert job.due is not None
    assert job.due - job.created < 31 * 86_400_000
    await shared.store.records.cancel(job_id, "t")


def memory_cgroup() -> Path:
    """A fresh memory cgroup of 600 MB; skips the test where this process may not make one."""
    root = Path("/sys/fs/cgroup")
    version_1 = (root / "memory" / "memory.limit_in_bytes").exists()
    group = (root / "memory" if version_1 else root) / f"longrun-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(600 << 20))
    except OSError as refused:
        pytest.skip(f"no memory cgroup can be made here: {refused}")
    return group


@pytest.fixture
def cramped_worker(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """A worker whose cgroup has little memory."""
    group = memory_cgroup()
    env = os.environ | {"LONGRUN_REDIS_URL": settings.redis_url, "LONGRUN_PREFIX": settings.prefix}
    into = 'echo $$ > "$0" && exec "$@"'
    command = ["sh", "-c", into, str(group / "cgroup.procs"), sys.executable, "-m", "longrun", "worker", f"{MODELS}:Quick"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    yield
    worker.terminate()
    worker.wait(60)
    group.rmdir()


@pytest.mark.usefixtures("cramped_worker")
async def test_a_job_that_the_kernel_killed_for_its_memory_is_told_so(caller: Caller) -> None:
    job = await caller.end(await caller.submit("quick", "poison", how="exit", megabytes=2000, policy=FRAGILE), timeout=PATIENCE)
    assert error(job).get("signal") == "SIGKILL"
    assert error(job).get("hint") == "The kernel killed it because memory ran out: its count of such kills rose."
