"""What a worker does with jobs of every kind."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import Caller

from longrun.jobs.policy import Policy


def output(job: Any) -> Any:
    assert job.status == "succeeded", job.error
    return orjson.loads(job.output)


def code(job: Any) -> str:
    assert job.status == "failed", job.status
    return str(orjson.loads(job.error)["code"])


async def test_every_kind_of_predict_gives_its_output(shared: Caller) -> None:
    jobs = await asyncio.gather(
        shared.run("noop", x=7),
        shared.run("sleeper", seconds=0.05),
        shared.run("story", n=3),
        shared.run("aio_story", n=3),
        shared.run("shout", text="hi"),
        shared.run("lengths", "gpu", text="four"),
    )
    assert [output(job) for job in jobs] == [7, "cpu", "word0 word1 word2 ", [0, 1, 2], "HI", [4, 1]]
    assert {job.attempt for job in jobs} == {1}


async def test_many_short_jobs_each_run_once(shared: Caller) -> None:
    ids = await asyncio.gather(*[shared.submit("noop", x=n) for n in range(2000)])
    jobs = await asyncio.gather(*[shared.end(job_id) for job_id in ids])
    assert [output(job) for job in jobs] == list(range(2000))
    assert {job.attempt for job in jobs} == {1}


async def test_urgent_jobs_go_first(start_worker: Any, caller: Caller) -> None:
    ids = {priority: await caller.submit("sleeper", priority=priority, seconds=0.05) for priority in (0, 3, 9, 6)}
    start_worker(models="Sleeper")
    jobs = {priority: await caller.end(job_id) for priority, job_id in ids.items()}
    assert sorted(jobs, key=lambda priority: jobs[priority].started or 0) == [9, 6, 3, 0]


async def test_async_jobs_run_side_by_side(shared: Caller) -> None:
    await shared.ready("shout")
    ids = [await shared.submit("shout", text="x", seconds=1.0) for _ in range(50)]
    jobs = [await shared.end(job_id) for job_id in ids]
    # One after the other they would take 50 s: that all overlap shows in their own times, not in how fast this machine is.
    assert max(job.started for job in jobs) < min(job.finished for job in jobs)  # type: ignore[type-var]


async def test_a_batched_model_gets_several_jobs_in_one_call(start_worker: Any, caller: Caller) -> None:
    ids = [await caller.submit("lengths", "gpu", text="x" * n) for n in range(16)]
    start_worker(models="Lengths")
    outputs = [output(await caller.end(job_id)) for job_id in ids]
    assert [length for length, _ in outputs] == list(range(16))
    assert max(size for _, size in outputs) == 8


async def test_a_bad_item_fails_alone(shared: Caller) -> None:
    texts = ["fine", "bomb", "also fine", "x" * 60]
    ids = [await shared.submit("lengths", "gpu", text=text) for text in texts]
    jobs = [await shared.end(job_id) for job_id in ids]
    assert [job.status.value for job in jobs] == ["succeeded", "failed", "succeeded", "failed"]
    assert [job.attempt for job in jobs] == [1, 1, 1, 1]
    assert "Too long." in (jobs[3].error or b"").decode()


async def test_a_list_of_the_wrong_length_is_an_invalid_output(shared: Caller) -> None:
    assert code(await shared.run("lengths", "gpu", text="short list")) == "invalid-output"


async def test_events_tell_the_story_in_order(shared: Caller) -> None:
    job = await shared.run("story", n=4)
    page = await shared.store.records.events(job.id, "t", 0, 100)
    assert [event.seq for event in page.events] == list(range(1, len(page.events) + 1))
    kinds = [event.type for event in page.events]
    assert kinds[:2] == ["queued", "started"]
    assert kinds[-1] == "done"
    values = [orjson.loads(event.data)["value"] for event in page.events if event.type == "output"]
    assert "".join(values) == output(job)


async def test_progress_and_usage_are_in_the_record(shared: Caller) -> None:
    job_id = await shared.submit("sleeper", seconds=1.0)
    while (job := await shared.read(job_id)).progress is None:
        assert not job.terminal
        await asyncio.sleep(0.01)
    progress = orjson.loads(job.progress)
    assert progress["step"] == "sleeping"
    assert 0 <= progress["fraction"] <= 1
    used = orjson.loads((await shared.run("usage")).usage or b"{}")
    assert used["tokens_in"] == 7
    assert used["cost_usd"] == 0.5


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("failure", "model-error"),
        ("other", "model-error"),
        ("exit", "model-error"),
        ("memory", "out-of-memory"),
        ("type", "invalid-output"),
    ],
)
async def test_failures_have_stable_codes_and_tell_no_secrets(shared: Caller, kind: str, expected: str) -> None:
    job = await shared.run("fail", kind=kind)
    assert code(job) == expected
    error = orjson.loads(job.error or b"")
    assert "secret" not in error["detail"]
    assert (error["detail"] == "You may read this.") == (kind == "failure")


async def test_nan_becomes_null_with_a_warning(shared: Caller) -> None:
    job = await shared.run("fail", kind="nan")
    assert output(job) is None
    events = (await shared.store.records.events(job.id, "t", 0, 100)).events
    assert [orjson.loads(event.data)["level"] for event in events if event.type == "log"] == ["warning"]


async def test_an_output_over_the_limit_fails_the_job(shared: Caller) -> None:
    assert code(await shared.run("shout", text="x" * 3000)) == "result-too-large"


async def test_covered_errors_are_tried_again_until_the_budget_is_spent(shared: Caller) -> None:
    policy = Policy(max_attempts=3, backoff=0.02)
    good, bad = await asyncio.gather(
        shared.run("shout", text="a", failures=2, policy=policy), shared.run("shout", text="b", failures=9, policy=policy)
    )
    assert (output(good), good.attempt) == ("A", 3)
    assert (code(bad), bad.attempt) == ("model-error", 3)
    attempts = await shared.store.records.attempts(bad.id, "t")
    assert [attempt.outcome for attempt in attempts] == ["retrying", "retrying", "failed"]


async def test_retry_after_is_honoured(shared: Caller) -> None:
    job = await shared.run("after_a_while", policy=Policy(max_attempts=3))
    assert output(job) == 2
    first, second = await shared.store.records.attempts(job.id, "t")
    assert second.started - (first.finished or 0) >= 300


async def test_a_worker_serves_only_its_queues(start_worker: Any, caller: Caller) -> None:
    start_worker("--queues", "gpu")
    other = await caller.submit("noop", x=1)
    assert output(await caller.run("lengths", "gpu", text="abc")) == [3, 1]
    assert (await caller.read(other)).status == "queued"


async def test_processes_and_concurrency_say_how_many_run_at_once(start_worker: Any, caller: Caller) -> None:
    worker = start_worker("--processes", "2", models="Sleeper")
    await caller.ready("sleeper")
    ids = [await caller.submit("sleeper", seconds=1.0) for _ in range(2)]
    jobs = [await caller.end(job_id) for job_id in ids]
    assert max(job.started for job in jobs) < min(job.finished for job in jobs)  # type: ignore[type-var]
    assert worker.stop() == 0
