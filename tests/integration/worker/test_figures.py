"""`run_s` is the time in the model's code: jobs, attempts, failures, webhooks, /stats, metrics, the CLI and Celery's events agree."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.worker.conftest import Caller, Worker
from tests.integration.worker.figures_desk import MODELS, NEAR, QUEUES, Desk
from tests.waiting import PATIENCE, until

from longrun.jobs.policy import Policy
from longrun.queues.celery.app import build_app
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store


def _listen(settings: Settings, runtimes: dict[str, float], heard: threading.Event, receivers: list[Any]) -> None:
    def take(event: dict[str, Any]) -> None:
        heard.set()
        if event["type"] == "task-succeeded":
            runtimes[event["uuid"]] = event["runtime"]

    app = build_app(settings.redis_url, settings.prefix)
    with app.connection() as connection:
        receivers.append(app.events.Receiver(connection, handlers={"*": take}))
        receivers[0].capture(limit=None, timeout=None, wakeup=False)


@pytest.fixture(scope="module")
def worker_and_runtimes(
    module_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Worker, Path, dict[str, float]]]:
    folder = tmp_path_factory.mktemp("figures")
    runtimes, heard, receivers = dict[str, float](), threading.Event(), list[Any]()
    listener = threading.Thread(target=_listen, args=(module_settings, runtimes, heard, receivers), daemon=True)
    listener.start()
    more = {"CODE_LOG": str(folder / "code"), "LONGRUN_CANCEL_GRACE": "1"}
    worker = Worker(module_settings, folder / "worker.log", "--events", "--queues", QUEUES, app=MODELS, **more)
    assert heard.wait(PATIENCE)
    yield worker, folder / "code", runtimes
    worker.stop(30)
    receivers[0].should_stop = True
    listener.join()
    print(worker.log.read_text()[-4000:])


@pytest.fixture
async def desk(worker_and_runtimes: tuple[Worker, Path, dict[str, float]], module_settings: Settings) -> AsyncIterator[Desk]:
    _, log, runtimes = worker_and_runtimes
    store = Store(module_settings.redis_url, module_settings, ticket_template())
    yield Desk(Caller(store), module_settings, log, runtimes)
    await store.close()


WAYS = [("works", "sync"), ("waits", "aio"), ("yields", "sync"), ("waits_and_yields", "aio"), ("many", "many")]


@pytest.mark.parametrize(("model", "queue"), WAYS)
async def test_reading_the_input_and_writing_the_output_are_no_time_of_the_code(desk: Desk, model: str, queue: str) -> None:
    await desk.caller.ready(model)
    before = await desk.stats(model)
    slow = {} if "yields" in model else {"slow": {"text": "read written"}}
    job_id = await desk.caller.submit(model, queue, seconds=0.3, **slow)
    job, (row,) = await desk.agreed(job_id)
    assert job.status == "succeeded"
    assert 0.25 < row["run_s"] < 0.3 + NEAR
    if slow:
        assert row["wait_s"] >= 0.5
    if model != "many":
        assert row["store_s"] >= 0.5
    await desk.counted(model, before, job_id)


async def test_an_error_and_the_attempts_after_it_are_summed(desk: Desk) -> None:
    before = await desk.stats("works")
    once, always = [
        await desk.caller.submit("works", "sync", policy=Policy(max_attempts=2, backoff=0.5), seconds=0.3, how=how)
        for how in ("raises once", "raises")
    ]
    job, rows = await desk.agreed(once)
    assert (job.status, [row["outcome"] for row in rows]) == ("succeeded", ["retrying", "succeeded"])
    job, rows = await desk.agreed(always)
    assert (job.status, [row["outcome"] for row in rows]) == ("failed", ["retrying", "failed"])
    # The pause between two attempts is none of theirs.
    assert all(row["queue_s"] + row["wait_s"] + row["store_s"] < 0.45 for row in rows)
    await desk.counted("works", before, once, always)


@pytest.mark.parametrize(("how", "step"), [("checks", "flag"), ("", "exception"), ("blocks", "kill")])
@pytest.mark.parametrize("way", ["cancel", "limit"])
async def test_a_job_that_was_stopped_has_run_until_it_had_stopped(desk: Desk, how: str, step: str, way: str) -> None:
    before = await desk.stats("works")
    policy = Policy(timeout=1.5) if way == "limit" else Policy()
    job_id = await desk.caller.submit("works", "sync", policy=policy, seconds=60, how=how, slow={"text": "read"})
    await desk.until_in_code(job_id)
    await asyncio.sleep(0.3)
    if way == "cancel":
        await desk.caller.store.records.cancel(job_id, "t")
    await desk.caller.end(job_id)
    job, (row,) = await desk.agreed(job_id, {1: time.monotonic()})
    assert (job.status, row["error"]["stopped_by"]) == ("canceled" if way == "cancel" else "failed", step)
    assert row["wait_s"] >= 0.5
    await desk.counted("works", before, job_id)


async def test_a_job_that_was_stopped_while_its_input_was_read_has_not_run(desk: Desk) -> None:
    before = await desk.stats("works")
    job_id = await desk.caller.submit("works", "sync", seconds=1, slow={"text": "read"})
    await desk.caller.until(job_id, "running")
    await asyncio.sleep(0.1)
    await desk.caller.store.records.cancel(job_id, "t")
    job, (row,) = await desk.agreed(job_id)
    assert job.status == "canceled" and not desk.visits(job_id)
    assert "run_s" not in row["error"]
    await desk.counted("works", before, job_id)


async def test_jobs_that_wait_behind_others_have_run_no_longer_than_alone(desk: Desk) -> None:
    await desk.caller.ready("rows")
    before = await desk.stats("rows")
    short = [await desk.caller.submit("rows", "row", seconds=0.01) for _ in range(30)]
    for job_id in short:
        await desk.agreed(job_id)
    # These were sent ahead, behind one that turns out to be long.
    ids = [await desk.caller.submit("rows", "row", seconds=1.0 if n == 0 else 0.01) for n in range(4)]
    ends = [await desk.agreed(job_id) for job_id in ids]
    assert all(rows[-1]["run_s"] < 0.01 + NEAR for _, rows in ends[1:])
    await desk.counted("rows", before, *short, *ids)


async def test_a_job_behind_a_blocked_loop_has_not_begun(desk: Desk) -> None:
    before = await desk.stats("waits")
    blocks = await desk.caller.submit("waits", "aio", policy=Policy(timeout=1.5), seconds=60, how="blocks")
    await desk.until_in_code(blocks)
    behind = await desk.caller.submit("waits", "aio", seconds=0.2)
    await desk.caller.end(blocks)
    job, _ = await desk.agreed(blocks, {1: time.monotonic()})
    assert job.status == "failed"
    job, rows = await desk.agreed(behind)
    assert (job.status, [row["run_s"] is None for row in rows]) == ("succeeded", [True, False])
    assert json.loads(job.usage or b"{}")["run_s"] < 0.2 + NEAR
    await desk.counted("waits", before, blocks, behind)


async def test_an_item_that_was_canceled_in_its_call_has_run_until_then(desk: Desk) -> None:
    await desk.caller.ready("many")
    before = await desk.stats("many")
    first, ids = await desk.together({"seconds": 1.5}, {"seconds": 1.5})
    await desk.until_in_code(*ids)
    await asyncio.sleep(0.3)
    await desk.caller.store.records.cancel(ids[0], "t")
    await desk.caller.end(ids[0])
    job, (row,) = await desk.agreed(ids[0], {1: time.monotonic()})
    assert (job.status, row["error"]["stopped_by"]) == ("canceled", "fenced")
    assert (await desk.agreed(ids[1]))[0].status == "succeeded"
    await desk.counted("many", before, first, *ids)


async def test_an_item_that_was_canceled_before_its_call_has_not_run(desk: Desk) -> None:
    before = await desk.stats("many")
    first, ids = await desk.together(*({"seconds": 0.3, "slow": {"text": text}} for text in ("read", "read", "")))
    for job_id in ids:
        await desk.caller.until(job_id, "running")
    # Their batch goes within half a second, and is read for a second.
    await asyncio.sleep(0.7)
    await desk.caller.store.records.cancel(ids[2], "t")
    await desk.caller.end(ids[2])
    job, (row,) = await desk.agreed(ids[2], {1: time.monotonic()})
    assert (job.status, row["error"]["stopped_by"], row["run_s"], row["usage"]["batch_size"]) == ("canceled", "fenced", None, 3)
    for job_id in ids[:2]:
        assert (await desk.agreed(job_id))[0].status == "succeeded"
    await desk.counted("many", before, first, *ids)


@pytest.mark.parametrize("hows", [["raises", "", ""], ["is large", "", "", ""]], ids=["raises", "is large"])
async def test_of_a_batch_every_call_counts_that_a_job_was_part_of(desk: Desk, hows: list[str]) -> None:
    """The last of those with batches: what was too large for the memory makes them smaller from then on."""
    before = await desk.stats("many")
    first, ids = await desk.together(*({"seconds": 0.3, "how": how} for how in hows))
    rows = [(await desk.agreed(job_id))[1][-1] for job_id in ids]
    assert all(len(desk.visits(job_id)) == 2 for job_id in ids)
    assert all(0.55 < row["run_s"] < 0.6 + 2 * NEAR for row in rows)
    await desk.counted("many", before, first, *ids)


async def test_a_job_that_ran_again_alone_for_its_memory_has_the_seconds_of_both(desk: Desk) -> None:
    before = await desk.stats("works")
    other = await desk.caller.submit("works", "sync", seconds=1.0)
    await desk.until_in_code(other)
    job_id = await desk.caller.submit("works", "sync", seconds=0.2, how="has no memory")
    job, (row,) = await desk.agreed(job_id)
    assert (job.status, len(desk.visits(job_id))) == ("succeeded", 2)
    assert row["wait_s"] > 0.05, "until a further runner was there"
    assert (await desk.agreed(other))[0].status == "succeeded"
    await desk.counted("works", before, job_id, other)


async def test_what_crashed_has_run_until_the_runner_died_and_what_was_aboard_as_well(desk: Desk) -> None:
    before = await desk.stats("works")
    neighbour = await desk.caller.submit("works", "sync", seconds=1.2)
    await desk.until_in_code(neighbour)
    culprit = await desk.caller.submit("works", "sync", seconds=0.5, how="dies", slow={"text": "read"})
    await until(lambda: len(desk.visits(culprit)) == 1 and desk.visits(culprit)[0][2] < float("inf"), "its code has ended")
    died = desk.visits(culprit)[0][2]
    for job_id in (culprit, neighbour):
        job, rows = await desk.agreed(job_id, {1: died})
        assert (job.status, [row["outcome"] for row in rows]) == ("succeeded", ["crashed", "succeeded"])
    await desk.counted("works", before, culprit, neighbour)
