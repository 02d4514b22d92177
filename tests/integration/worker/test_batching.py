"""Batches: what each item gets, what runs how often, and what shares a call with what."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import Caller, Worker

from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.jobs.record import JobRecord
from longrun.store.records import NewJob

MODELS = Path(__file__).with_name("models_that_batch.py")
Start = Callable[..., Worker]


class Calls:
    """What the models were called with."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def batches(self) -> list[list[str]]:
        return [line.split()[2:] for line in self.path.read_text().splitlines()]

    @property
    def times(self) -> Counter[str]:
        return Counter(name for batch in self.batches for name in batch)


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    (tmp_path / "calls").touch()
    return Calls(tmp_path / "calls")


@pytest.fixture
def start(start_worker: Start, calls: Calls) -> Start:
    return lambda *arguments, **env: start_worker(*arguments, app=MODELS, CALLS=str(calls.path), **env)


def used(job: JobRecord) -> dict[str, float]:
    found: dict[str, float] = orjson.loads(job.usage or b"{}")
    return found


def code(job: JobRecord) -> str | None:
    return orjson.loads(job.error)["code"] if job.error else None


async def send(caller: Caller, model: str, queue: str, hows: list[str], policy: Policy | None = None, **more: Any) -> list[str]:
    """Submit at once one job for each `how`, named n0, n1, …"""
    jobs = [
        NewJob(new_job_id(), "t", model, queue, 5, orjson.dumps({"name": f"n{n}", "how": how, **more}), (policy or Policy()).to_json())
        for n, how in enumerate(hows)
    ]
    await asyncio.gather(*[caller.store.records.submit(job) for job in jobs])
    return [job.id for job in jobs]


async def ends(caller: Caller, ids: list[str]) -> list[JobRecord]:
    return [await caller.end(job_id) for job_id in ids]


async def test_one_bad_item_of_32_fails_alone_and_nothing_runs_twice(start: Start, caller: Caller, calls: Calls) -> None:
    ids = await send(caller, "many", "many", ["bad" if n == 7 else "" for n in range(32)])
    start("--queues", "many")
    jobs = await ends(caller, ids)
    assert [job.status.value for job in jobs] == ["failed" if n == 7 else "succeeded" for n in range(32)]
    assert set(calls.times.values()) == {1} and len(calls.times) == 32
    assert {job.attempt for job in jobs} == {1}
    sizes = [used(job)["batch_size"] for job in jobs]
    assert Counter(sizes) == Counter(float(len(batch)) for batch in calls.batches for _ in batch)
    assert all(0 <= used(job)["batch_wait_s"] < 30 for job in jobs)


@pytest.mark.parametrize("model", ["many", "many_async"])
async def test_after_an_exception_each_item_runs_alone_within_its_attempt(start: Start, caller: Caller, calls: Calls, model: str) -> None:
    ids = await send(caller, model, "many", ["", "raise", "", ""])
    start("--queues", "many")
    jobs = await ends(caller, ids)
    assert [job.status.value for job in jobs] == ["succeeded", "failed", "succeeded", "succeeded"]
    assert calls.batches == [["n0", "n1", "n2", "n3"], ["n0"], ["n1"], ["n2"], ["n3"]]
    assert ({job.attempt for job in jobs}, code(jobs[1])) == ({1}, "model-error")


async def test_an_exception_is_final_for_items_that_must_not_run_twice(start: Start, caller: Caller, calls: Calls) -> None:
    once = await send(caller, "many", "many", ["", "raise"], Policy(delivery="at_most_once"))
    often = await caller.submit("many", "many", name="other")
    start("--queues", "many")
    jobs = await ends(caller, [*once, often])
    assert [job.status.value for job in jobs] == ["failed", "failed", "succeeded"]
    assert [code(job) for job in jobs] == ["model-error", "model-error", None]
    assert calls.batches == [["n0", "n1", "other"], ["other"]]


@pytest.mark.parametrize("how", ["short", "text"])
async def test_what_is_no_list_of_the_right_length_fails_all_and_nothing_runs_twice(
    start: Start, caller: Caller, calls: Calls, how: str
) -> None:
    ids = await send(caller, "many", "many", ["", how, ""])
    start("--queues", "many")
    jobs = await ends(caller, ids)
    assert {code(job) for job in jobs} == {"invalid-output"}
    assert calls.batches == [["n0", "n1", "n2"]]
    assert "must return a list of 3" in orjson.loads(jobs[0].error or b"")["debug"]


async def test_a_batch_too_large_for_the_memory_is_halved_and_later_ones_are_smaller(start: Start, caller: Caller, calls: Calls) -> None:
    ids = await send(caller, "tight", "tight", [""] * 16)
    worker = start("--queues", "tight")
    jobs = await ends(caller, ids)
    assert {(job.status.value, job.attempt) for job in jobs} == {("succeeded", 1)}
    assert [len(batch) for batch in calls.batches] == [16, 8, 4, 4, 4, 4]
    before = len(calls.batches)
    later = await ends(caller, await send(caller, "tight", "tight", [""] * 12))
    assert {job.status.value for job in later} == {"succeeded"}
    # The worker has learned it too: it is its batches that are smaller, not only the runner's calls.
    assert max(used(job)["batch_size"] for job in later) == 4
    assert max(len(batch) for batch in calls.batches[before:]) == 4
    while (await announced(caller, "tight"))["batch_size"] != 4:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    assert worker.stop() == 0


async def test_an_item_too_large_by_itself_fails_alone(start: Start, caller: Caller, calls: Calls) -> None:
    ids = await send(caller, "tight", "tight", ["", "huge", "", ""])
    start("--queues", "tight")
    jobs = await ends(caller, ids)
    assert [code(job) for job in jobs] == [None, "out-of-memory", None, None]
    assert [len(batch) for batch in calls.batches] == [4, 2, 1, 1, 2] or calls.times["n1"] <= 3
    assert {job.attempt for job in jobs} == {1}


async def test_memory_short_beside_others_is_no_reason_to_fail(start: Start, caller: Caller, calls: Calls) -> None:
    ids = await send(caller, "wide", "wide", ["", "", "", "huge"])
    start("--queues", "wide")
    jobs = await ends(caller, ids)
    assert [(job.status.value, code(job)) for job in jobs] == [("succeeded", None)] * 3 + [("failed", "out-of-memory")]
    assert {job.attempt for job in jobs} == {1}
    assert max(calls.times.values()) == 2


async def test_batches_are_pure_and_a_rare_key_is_not_passed_over(start: Start, caller: Caller, calls: Calls) -> None:
    rare = await send(caller, "tongues", "tongues", [""], tongue="rare")
    common = await send(caller, "tongues", "tongues", [""] * 120, tongue="common")
    other = await send(caller, "tongues", "tongues", [""] * 40, tongue="other")
    start("--queues", "tongues")
    jobs = await ends(caller, rare + common + other)
    assert [orjson.loads(job.output or b"") for job in jobs] == [["rare"]] + [["common"]] * 120 + [["other"]] * 40
    ended = sorted(job.finished or 0 for job in jobs)
    assert ended.index(jobs[0].finished or 0) < 80
    assert max(len(batch) for batch in calls.batches) == 4


async def test_the_most_urgent_go_in_the_next_batch(start: Start, caller: Caller, calls: Calls) -> None:
    await caller.submit("gate", "gate", name="first", how="wait")
    start("--queues", "gate", LONGRUN_CONCURRENCY="1")
    while not calls.batches:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    names = {"low": 1, "low2": 1, "mid": 5, "mid2": 5, "urgent": 9}
    ids = [await caller.submit("gate", "gate", priority=priority, name=name) for name, priority in names.items()]
    calls.path.with_suffix(".go").touch()
    await ends(caller, ids)
    assert calls.batches[1] == ["urgent", "mid", "mid2", "low"]


async def test_under_steady_load_batches_are_full(start: Start, caller: Caller) -> None:
    start("--queues", "steady")
    await caller.ready("steady")

    async def client() -> list[float]:
        return [used(await caller.run("steady", "steady", name="x"))["batch_size"] for _ in range(8)]

    sizes = [size for each in await asyncio.gather(*[client() for _ in range(40)]) for size in each[2:]]
    assert sum(sizes) / len(sizes) > 12, Counter(sizes)
    told = (await announced(caller, "steady", batches=1))["batches"]
    assert told["size"]["sum"] >= 40 and told["wait_s"]["count"] >= 40


async def announced(caller: Caller, model: str, batches: int = 0) -> dict[str, Any]:
    """What the worker says of a model."""
    end = time.monotonic() + 60
    while True:
        workers, *_ = await caller.store.records.overview()
        entry: dict[str, Any] = orjson.loads(workers[0])["models"][model] if workers else {}
        if entry.get("batches") and entry["batches"]["size"]["count"] >= batches and entry["batch_size"] is not None:
            return entry
        assert time.monotonic() < end, entry
        await asyncio.sleep(0.1)
