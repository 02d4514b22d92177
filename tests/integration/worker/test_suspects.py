"""After a crash of their runner jobs run apart from each other, and yet none of them waits for another one in vain."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Set
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import Caller, Worker
from tests.waiting import PATIENCE

from longrun.jobs.record import JobRecord

APP = Path(__file__).with_name("models_that_wait.py")
#: Far below the time limits of the jobs (600 s), which they would stand still for.
SOON = 60.0
Start = Callable[..., Worker]
#: Where no further runner may be started: what a GPU has left is not known.
ON_A_GPU = {"LONGRUN_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": "0"}
#: Where no further runner can be had, groups take turns of seconds.
PLACES = pytest.mark.parametrize("place", [{}, pytest.param(ON_A_GPU, marks=pytest.mark.slow)], ids=["cpu", "gpu"])


@pytest.fixture
def start(start_worker: Any, tmp_path: Path) -> Start:
    return lambda *arguments, **more: start_worker(*arguments, app=APP, folder=tmp_path, LONGRUN_MODELS_MAY_SUBMIT="1", **more)  # type: ignore[no-any-return]


async def jobs(caller: Caller) -> list[JobRecord]:
    return list((await caller.store.records.list("t", cursor=None, look_at=100, since=0, filters=[])).jobs)


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + PATIENCE
    while not await what():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def running(caller: Caller, count: int) -> None:
    """Until so many jobs run."""

    async def so_many() -> bool:
        return [job.status.value for job in await jobs(caller)].count("running") == count

    await until(so_many)


async def kill_runner(worker: Worker) -> None:
    os.kill(worker.runners[0].pid, signal.SIGKILL)


async def all_succeed(caller: Caller, attempts: int = 2) -> None:
    ids = [job.id for job in await jobs(caller)]
    ended = [await caller.end(job_id, timeout=SOON) for job_id in ids]
    assert {(job.status.value, job.error) for job in ended} == {("succeeded", None)}
    assert max(job.attempt for job in ended) <= attempts


@PLACES
@pytest.mark.parametrize(
    ("flow", "depth"),
    [("flow", 1), ("sync_flow", 1), ("flow", 5)],
    ids=["async", "one job at a time", "a chain"],
)
async def test_a_flow_and_its_children_that_crashed_together_all_end_soon(
    start: Start, caller: Caller, place: dict[str, str], flow: str, depth: int
) -> None:
    worker = start(**place)
    await caller.submit(flow, **({"depth": depth} if depth > 1 else {}))
    await running(caller, depth + 1)
    await kill_runner(worker)
    await all_succeed(caller)


@PLACES
async def test_suspects_that_wait_for_fresh_jobs_get_them_served(
    start: Start, caller: Caller, place: dict[str, str], tmp_path: Path
) -> None:
    worker, after = start(**place), tmp_path / "go"
    for _ in range(2):
        await caller.submit("flow", depth=2, seconds=0.1, after=str(after))
    await running(caller, 2)
    await kill_runner(worker)
    after.touch()
    await all_succeed(caller)


@PLACES
async def test_a_culprit_among_them_fails_alone(start: Start, caller: Caller, place: dict[str, str]) -> None:
    start(**place)
    await caller.ready("flow")
    flows = [await caller.submit("flow", depth=2, seconds=4) for _ in range(2)]
    await running(caller, 6)
    bad = await caller.submit("doomed", seconds=0.5)
    ended = await caller.end(bad, timeout=PATIENCE)
    assert (ended.status.value, orjson.loads(ended.error or b"{}")["code"]) == ("failed", "worker-lost")
    for job_id in flows:
        assert (await caller.end(job_id, timeout=SOON)).status.value == "succeeded"
    others = [job for job in await jobs(caller) if job.id != bad]
    assert {job.status.value for job in others} == {"succeeded"}
    assert max(job.attempt for job in others) <= 3


@pytest.mark.slow
async def test_suspects_are_queued_until_they_begin_and_can_be_canceled(start: Start, caller: Caller, tmp_path: Path) -> None:
    """On a GPU, where they take turns."""
    worker = start(**ON_A_GPU)
    ids = [await caller.submit("flow", after=str(tmp_path / "go")) for _ in range(4)]
    await running(caller, 4)
    await kill_runner(worker)
    await until(lambda: statuses(caller, ids, ["queued"] * 3 + ["running"]))
    waits = next(job.id for job in await jobs(caller) if job.status == "queued")
    await caller.store.records.cancel(waits, "t")
    assert (await caller.read(waits)).status == "canceled"
    (tmp_path / "go").touch()
    ended = [await caller.end(job_id, timeout=SOON) for job_id in ids if job_id != waits]
    assert {(job.status.value, job.attempt) for job in ended} == {("succeeded", 2)}
    assert not await caller.store.connection.command("HLEN", f"{caller.store.prefix}suspects:default.flow")


async def statuses(caller: Caller, ids: list[str], expected: list[str]) -> bool:
    return sorted([(await caller.read(job_id)).status.value for job_id in ids]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("lease", [2])
async def test_of_lost_workers_a_flow_and_its_child_are_not_failed_for_each_other(start: Start, caller: Caller) -> None:
    """Two crashes of a worker and one more would end either of them. Both must run at once, and the worker dies again."""
    await caller.submit("flow", seconds=8.0)
    dead = {""}
    for number in range(3):
        worker = start("--name", f"w{number}@here")

        async def both_run_there(dead: Set[str] = frozenset(dead)) -> bool:
            found = await jobs(caller)
            here = {job.worker for job in found}
            return [job.status.value for job in found] == ["running"] * 2 and len(here) == 1 and not here & dead

        await until(both_run_there)
        dead |= {job.worker for job in await jobs(caller)}
        worker.kill()
    start("--name", "last@here")
    for job in await jobs(caller):
        ended = await caller.end(job.id, timeout=2 * SOON)
        assert (ended.status.value, ended.attempt) == ("succeeded", 4)


@pytest.mark.slow
async def test_where_a_further_runner_does_not_load_suspects_take_turns(start: Start, caller: Caller, tmp_path: Path) -> None:
    worker = start(ONLY_ONE=str(tmp_path / "one"))
    await caller.submit("flow")
    await running(caller, 2)
    await kill_runner(worker)
    await all_succeed(caller)
    assert "further runner for suspects did not load" in worker.log.read_text()


async def test_further_runners_end_when_nobody_needs_them(start: Start, caller: Caller) -> None:
    worker = start(LONGRUN_HEARTBEAT="0.2")
    await caller.submit("flow", seconds=4)
    await running(caller, 2)
    await kill_runner(worker)
    await until(lambda: shown(caller, 3))
    await all_succeed(caller)
    await until(lambda: shown(caller, 1))
    assert len(worker.runners) == 1
    assert worker.stop() == 0


async def shown(caller: Caller, count: int) -> bool:
    """Whether the worker shows so many runners."""
    workers, *_ = await caller.store.records.overview()
    return [len(orjson.loads(worker)["runners"]) for worker in workers] == [count]


async def test_a_job_that_runs_alone_for_want_of_memory_gets_its_child_served(start: Start, caller: Caller) -> None:
    start()
    await caller.ready("flow")
    beside = await caller.submit("flow", depth=0, seconds=3)
    await running(caller, 1)
    greedy = await caller.end(await caller.submit("greedy_flow"), timeout=SOON)
    assert (greedy.status.value, greedy.attempt, greedy.error) == ("succeeded", 1, None)
    assert (await caller.end(beside)).attempt == 1


@pytest.mark.slow
async def test_of_two_workers_either_runs_them_and_each_group_in_one(start: Start, caller: Caller) -> None:
    one = start("--name", "one@here")
    await caller.submit("flow", depth=3, seconds=5)
    await running(caller, 4)
    two = start("--name", "two@here")
    await until(lambda: shown_by(caller, 2))
    await kill_runner(one)
    await all_succeed(caller)
    started = sum(worker.log.read_text().count("further runner for suspects") for worker in (one,))  # one log for both
    assert started <= 5, "not each worker for each group"
    assert two.stop() == one.stop() == 0


async def shown_by(caller: Caller, workers: int) -> bool:
    """Whether so many workers serve flows."""
    found, *_ = await caller.store.records.overview()
    return [orjson.loads(worker)["models"]["flow"]["state"] for worker in found] == ["ready"] * workers


@pytest.mark.slow
async def test_a_worker_that_stops_ends_its_further_runners_and_hands_their_jobs_back(start: Start, caller: Caller) -> None:
    worker = start(LONGRUN_HEARTBEAT="0.2", LONGRUN_GRACE="1")
    await caller.submit("flow", seconds=60)
    await running(caller, 2)
    await kill_runner(worker)
    await until(lambda: shown(caller, 3))
    await running(caller, 2)
    runners = worker.runners
    assert worker.stop() == 0
    assert not any(runner.is_running() for runner in runners)
    assert {job.status.value for job in await jobs(caller)} == {"queued"}
    for job in await jobs(caller):
        await caller.store.records.cancel(job.id, "t")
