"""Cancel and time limits, by real workers: which step stops what, what the job tells of it, and that its neighbours take no harm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from tests.integration.worker.conftest import Worker
from tests.integration.worker.watcher import Watcher, error_of, how
from tests.waiting import PATIENCE

from longrun.jobs.policy import Policy
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store

MODELS = Path(__file__).with_name("models_that_run_on.py")


@pytest.fixture(scope="module")
def workers(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Worker]]:
    """A worker for each queue, so that the sync functions have a runner without an event loop."""
    folder = tmp_path_factory.mktemp("workers")
    environment = {"RUN_ON_LOG": str(folder / "runs")}
    running = {
        queue: Worker(module_settings, folder / f"{queue}.log", "--queues", queue, app=MODELS, **environment)
        for queue in ("sync", "aio", "threads")
    }
    yield running
    for worker in running.values():
        worker.stop(30)
        print(worker.log.read_text()[-4000:])


@pytest.fixture
async def watcher(workers: dict[str, Worker], module_settings: Settings, tmp_path: Path) -> AsyncIterator[Watcher]:
    store = Store(module_settings.redis_url, module_settings, ticket_template())
    watcher = Watcher(store, workers["sync"].log.with_name("runs"))
    yield watcher
    for job_id in watcher.submitted:
        await store.records.cancel(job_id, "t")
    for job_id in watcher.submitted:
        await watcher.end(job_id)
    await store.close()


SYNC = [
    ("looks", {}, "flag"),
    ("loops", {}, "exception"),
    ("sleeps", {}, "kill"),
    ("holds", {}, "kill"),
    ("swallows", {}, "kill"),
    ("yields", {}, "flag"),
    ("yields_once", {"how": "loops"}, "exception"),
    ("yields_once", {"how": "sleeps"}, "kill"),
    ("many", {"how": "looks"}, "flag"),
    ("many", {"how": "loops"}, "exception"),
    ("many", {"how": "sleeps"}, "kill"),
]
AIO = [
    ("aio_waits", {}, "exception"),
    ("aio_groups", {}, "exception"),
    ("aio_blocks", {}, "kill"),
    ("aio_blocks", {"how": "looks"}, "flag"),
    ("aio_swallows", {}, "kill"),
    ("aio_yields", {}, "exception"),
    ("aio_many", {"how": "sleeps"}, "exception"),
]
WAYS = [("sync", *way) for way in SYNC] + [("aio", *way) for way in AIO]
IDS = [" ".join([model, *map(str, data.values())]) for _, model, data, _ in WAYS]
#: Each step once, of sync code and of async: how a stop comes about is the same as when a job is canceled. Others run in the gate.
LIMITED = ("looks", "loops", "sleeps", "aio_waits", "aio_blocks")


@pytest.mark.parametrize(("queue", "model", "data", "step"), WAYS, ids=IDS)
async def test_a_canceled_job_stops_and_tells_how(watcher: Watcher, queue: str, model: str, data: dict[str, str], step: str) -> None:
    job_id = await watcher.submit(model, queue, **data)
    await watcher.until_begun(job_id)
    await asyncio.sleep(0.2)
    job = await watcher.cancel(job_id)
    error = error_of(job)
    assert how(job) == ("canceled", "canceled", step)
    assert error["run_s"] >= 0.1
    assert 0 <= error["stop_s"] < PATIENCE
    assert orjson.loads(job.usage or b"{}")["run_s"] == pytest.approx(error["run_s"], abs=0.001)
    (attempt,) = await watcher.store.records.attempts(job_id, "t")
    assert (attempt.outcome, attempt.error) == ("canceled", error)


@pytest.mark.parametrize(
    ("queue", "model", "data", "step"),
    [
        pytest.param(*way, id=name, marks=() if name in LIMITED else pytest.mark.slow)
        for way, name in zip(WAYS, IDS, strict=True)
        if name != "aio_groups"  # it returns what it has
    ],
)
async def test_a_job_ends_when_its_time_is_over(watcher: Watcher, queue: str, model: str, data: dict[str, str], step: str) -> None:
    begin = time.monotonic()
    job = await watcher.run(model, queue, policy=Policy(timeout=1), **data)
    took, error = time.monotonic() - begin, error_of(job)
    print(f"{model}: ended {took:.2f} s after the submit, {error}")
    assert how(job) == ("failed", "timeout", step)
    assert error["detail"].startswith("The job had not ended within its timeout of 1 s.")
    assert error["run_s"] >= 0.9, "the time counts from when the runner got it, a moment before its code began"
    assert error["stop_s"] < PATIENCE


@pytest.mark.parametrize("way", ["cancel", "limit"])
async def test_work_that_was_killed_has_stopped_with_the_processes_that_it_had_started(watcher: Watcher, way: str) -> None:
    policy = Policy(timeout=4) if way == "limit" else None
    job_id = await watcher.submit("has_a_child", "sync", policy=policy)
    child = None
    end = time.monotonic() + PATIENCE
    while child is None and time.monotonic() < end:
        events = (await watcher.store.records.events(job_id, "t", 0, 100)).events
        child = next((psutil.Process(int(orjson.loads(event.data)["message"])) for event in events if event.type == "log"), None)
        await asyncio.sleep(0.02)
    assert child is not None
    runner = child.parent()
    if way == "cancel":
        await watcher.store.records.cancel(job_id, "t")
    assert how(await watcher.end(job_id))[2] == "kill"
    assert runner is not None
    _, alive = psutil.wait_procs([runner, child], timeout=PATIENCE)
    assert alive == []


async def test_python_code_that_is_stopped_by_an_exception_has_left_and_its_runner_lives(watcher: Watcher) -> None:
    first, second = await watcher.submit("loops", "sync"), await watcher.submit("loops", "sync")
    await watcher.until_begun(first)
    await watcher.cancel(first)
    assert watcher.notes(first) == ["begin", "left"]
    await watcher.until_begun(second)
    await watcher.cancel(second)
    assert watcher.begun(first) == watcher.begun(second)


async def test_a_canceled_async_job_leaves_no_tasks_behind(watcher: Watcher) -> None:
    job_id = await watcher.submit("aio_groups", "aio")
    await watcher.until_begun(job_id)
    await asyncio.sleep(0.3)
    await watcher.cancel(job_id)
    assert sorted(watcher.notes(job_id)) == ["begin", "left a", "left b"]


# -- soft limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "model", "data", "output"),
    [
        ("sync", "partial", {"how": "looks"}, "something"),
        ("sync", "partial", {"how": "loops"}, "something"),
        ("sync", "many", {"how": "partial"}, 1),
        ("aio", "aio_waits", {"catches": True}, "something"),
        ("aio", "aio_groups", {}, "grouped"),
        ("aio", "aio_yields", {"catches": True}, "first last"),
    ],
)
async def test_what_a_model_returns_when_its_time_is_over_is_kept_and_marked(
    watcher: Watcher, queue: str, model: str, data: dict[str, Any], output: Any
) -> None:
    job = await watcher.run(model, queue, policy=Policy(timeout=10, soft_timeout=0.5), **data)
    assert (job.status.value, job.partial, orjson.loads(job.output or b"null")) == ("succeeded", True, output)
    assert job.error is None


async def test_a_generator_says_its_last_words_when_its_time_is_over(watcher: Watcher) -> None:
    job = await watcher.run("partial_words", "sync", policy=Policy(timeout=10, soft_timeout=0.5))
    assert (job.status.value, job.partial) == ("succeeded", True)
    assert orjson.loads(job.output or b"").endswith("word and so on")


async def test_without_a_soft_limit_there_is_the_grace_to_return_what_there_is(watcher: Watcher) -> None:
    job = await watcher.run("partial", "sync", policy=Policy(timeout=0.5), how="looks")
    assert (job.status.value, job.partial) == ("succeeded", True)


async def test_what_was_whole_is_not_marked(watcher: Watcher) -> None:
    """It returned after its soft limit, before the exception came."""
    job = await watcher.run("in_time", "sync", policy=Policy(timeout=10, soft_timeout=1))
    assert (job.status.value, job.partial, job.output) == ("succeeded", False, b'"whole"')


async def test_between_soft_and_hard_limit_a_model_has_the_time_that_was_set(watcher: Watcher) -> None:
    begin = time.monotonic()
    job = await watcher.run("sleeps", "sync", policy=Policy(timeout=3, soft_timeout=0.5))
    assert how(job) == ("failed", "timeout", "kill")
    assert error_of(job)["detail"] == "The job had not ended within its timeout of 3 s."
    assert time.monotonic() - begin >= 3


async def test_a_caller_need_not_wait_for_the_end_of_the_soft_limit(watcher: Watcher) -> None:
    """A cancel during the time between soft and hard limit counts at once."""
    job_id = await watcher.submit("sleeps", "sync", policy=Policy(timeout=600, soft_timeout=0.3))
    await watcher.until_begun(job_id)
    await asyncio.sleep(1)
    assert how(await watcher.cancel(job_id)) == ("canceled", "canceled", "kill")


async def test_what_a_timed_out_generator_had_yielded_stays_readable(watcher: Watcher) -> None:
    job = await watcher.run("yields_once", "sync", policy=Policy(timeout=0.5), how="loops")
    assert how(job) == ("failed", "timeout", "exception")
    events = (await watcher.store.records.events(job.id, "t", 0, 100)).events
    assert [orjson.loads(event.data) for event in events if event.type == "output"] == [{"value": "first"}]


async def test_total_time_counts_the_wait_and_running_time_does_not(watcher: Watcher) -> None:
    blocker = await watcher.submit("loops", "sync")
    await watcher.until_begun(blocker)
    patient = await watcher.submit("loops", "sync", policy=Policy(timeout=1))
    hurried = await watcher.submit("loops", "sync", policy=Policy(total_timeout=6))
    await asyncio.sleep(2)
    assert not (await watcher.read(patient)).terminal
    await watcher.cancel(blocker)
    assert how(await watcher.end(patient))[:2] == ("failed", "timeout")
    job = await watcher.end(hurried)
    # On a busy machine it has not even begun by then.
    said = {"failed": "total_timeout", "expired": "did not start within its time limit"}
    assert said[job.status.value] in error_of(job)["detail"]


async def test_a_timeout_is_tried_again_when_the_model_says_so(watcher: Watcher) -> None:
    job = await watcher.run("at_second_try", "sync", policy=Policy(timeout=1, max_attempts=3, backoff=0.05))
    assert (job.status.value, job.output) == ("succeeded", b"2")
    first, _ = await watcher.store.records.attempts(job.id, "t")
    assert first.outcome == "retrying"
    assert (first.error or {})["stopped_by"] == "kill"


# -- neighbours -----------------------------------------------------------------------------------------------------------


async def test_one_item_of_a_batch_is_canceled_at_once_and_the_others_go_on(watcher: Watcher) -> None:
    one, other = await watcher.batch("many", "sync", how="held")
    job = await watcher.cancel(one)
    assert how(job) == ("canceled", "canceled", "fenced")
    assert "may still go on" in error_of(job)["detail"]
    watcher.let_go(one, other)
    assert (await watcher.end(other)).output == b"2"


@pytest.mark.parametrize(("queue", "model", "data"), [("sync", "many", {"how": "loops"}), ("aio", "aio_many", {"how": "sleeps"})])
async def test_a_batch_that_nobody_wants_any_more_stops(watcher: Watcher, queue: str, model: str, data: dict[str, str]) -> None:
    one, other = await watcher.batch(model, queue, **data)
    assert how(await watcher.cancel(one))[2] == "fenced"
    assert how(await watcher.cancel(other))[2] == "exception"
    assert (await watcher.run(model, queue, how="0.01")).status.value == "succeeded"


async def test_an_async_job_that_does_not_stop_is_fenced_and_ended_when_its_neighbours_are_done(watcher: Watcher) -> None:
    stubborn, other = await watcher.submit("aio_swallows", "aio"), await watcher.submit("aio_waits", "aio", held=True)
    await watcher.until_begun(stubborn, other)
    assert how(await watcher.cancel(stubborn)) == ("canceled", "canceled", "fenced")
    runner = psutil.Process(watcher.begun(stubborn)[0])
    watcher.let_go(other)
    job = await watcher.end(other)
    assert (job.status.value, job.attempt) == ("succeeded", 1)
    _, alive = psutil.wait_procs([runner], timeout=PATIENCE)
    assert alive == []


async def test_a_call_that_does_not_come_back_does_not_keep_its_model_from_others(watcher: Watcher) -> None:
    """It has the only place of its model, and the runner works for a neighbour: another runner takes over."""
    neighbour = await watcher.submit("looks", "sync")
    await watcher.until_begun(neighbour)
    job = await watcher.run("at_second_try", "sync", policy=Policy(timeout=1, max_attempts=3, backoff=0.05))
    assert (job.status.value, job.output) == ("succeeded", b"2")
    first, _ = await watcher.store.records.attempts(job.id, "t")
    assert (first.error or {})["stopped_by"] == "fenced"
    assert ((await watcher.read(neighbour)).status.value, (await watcher.read(neighbour)).attempt) == ("running", 1)
    old = psutil.Process(watcher.begun(neighbour)[0])
    await watcher.cancel(neighbour)
    _, alive = psutil.wait_procs([old], timeout=PATIENCE)
    assert alive == []


async def test_neighbours_of_a_runner_that_answers_nothing_run_again_and_are_not_charged(watcher: Watcher) -> None:
    other = await watcher.submit("aio_waits", "aio", held=True)
    await watcher.until_begun(other)
    blocker = await watcher.submit("aio_blocks", "aio")
    await watcher.until_begun(blocker)
    watcher.let_go(other)
    assert how(await watcher.cancel(blocker)) == ("canceled", "canceled", "kill")
    job = await watcher.end(other)
    assert (job.status.value, job.attempt, job.errors) == ("succeeded", 2, 0)
    assert [attempt.outcome for attempt in await watcher.store.records.attempts(other, "t")] == ["released", "succeeded"]


async def test_somebody_elses_cancel_does_not_make_a_paid_job_unknown_but_the_time_limit_does(watcher: Watcher) -> None:
    paid = await watcher.submit("pays", "aio", policy=Policy(delivery="at_most_once"), seconds=60)
    await watcher.until_begun(paid)
    blocker = await watcher.submit("aio_blocks", "aio", policy=Policy(timeout=6))
    await watcher.until_begun(blocker)
    assert how(await watcher.cancel(blocker)) == ("canceled", "canceled", "fenced")
    assert (await watcher.read(paid)).status.value == "running"
    # The event loop is blocked until the limit of the one that blocks it.
    job = await watcher.end(paid)
    assert (job.status.value, error_of(job)["code"]) == ("failed", "outcome-unknown")
    assert watcher.begun(paid) == watcher.begun(blocker)


async def test_a_neighbour_that_is_at_its_soft_limit_keeps_its_time(watcher: Watcher) -> None:
    """It returns what it has, long after its soft limit; meanwhile another one in the runner has to be stopped."""
    policy = Policy(timeout=600, soft_timeout=1)
    saving = await watcher.submit("threads", "threads", policy=policy, seconds=500, looks=True)
    stuck = await watcher.submit("threads", "threads", policy=Policy(timeout=1.5), seconds=1000)
    await watcher.until_begun(saving, stuck)
    assert how(await watcher.end(stuck)) == ("failed", "timeout", "fenced")
    watcher.let_go(saving)
    job = await watcher.end(saving)
    assert (job.status.value, job.attempt, job.partial) == ("succeeded", 1, True)


async def test_given_up_threads_do_not_use_up_a_runner(watcher: Watcher) -> None:
    """Half of the places are taken by calls that do not come back: the rest ends in peace, then the runner is replaced."""
    stuck = [await watcher.submit("threads", "threads", seconds=1000) for _ in range(2)]
    wanted = await watcher.submit("threads", "threads", held=True)
    await watcher.until_begun(*stuck, wanted)
    attempt = (await watcher.read(wanted)).attempt  # a worker that waits for its runner gives jobs back that have not begun
    for job_id in stuck:
        assert how(await watcher.cancel(job_id))[2] == "fenced"
    late = await watcher.submit("threads", "threads", seconds=0.1)
    old = watcher.begun(wanted)[0]
    runner = psutil.Process(old)
    watcher.let_go(wanted)
    job = await watcher.end(wanted)
    assert (job.status.value, job.attempt, job.output) == ("succeeded", attempt, str(old).encode())
    job = await watcher.end(late)
    assert job.status.value == "succeeded"
    assert int(job.output or b"") != old
    _, alive = psutil.wait_procs([runner], timeout=PATIENCE)
    assert alive == []


async def test_the_same_job_may_run_again_beside_its_attempt_that_was_given_up(watcher: Watcher) -> None:
    """A timed-out attempt goes on beside a neighbour, while the job is retried in the same runner."""
    neighbour = await watcher.submit("threads", "threads", held=True)
    await watcher.until_begun(neighbour)
    attempt = (await watcher.read(neighbour)).attempt
    job_id = await watcher.submit("threads", "threads", policy=Policy(timeout=1), seconds=1000)
    job = await watcher.end(job_id)
    assert how(job) == ("failed", "timeout", "fenced")
    watcher.let_go(neighbour)
    assert (await watcher.end(neighbour)).attempt == attempt
    assert (await watcher.run("threads", "threads", seconds=0.05)).status.value == "succeeded"


# -- races ----------------------------------------------------------------------------------------------------------------


async def test_a_job_that_is_canceled_as_soon_as_it_is_claimed_stops_soon(watcher: Watcher) -> None:
    """The order to cancel may overtake the answer to the claim."""
    await watcher.run("aio_waits", "aio", seconds=0)
    for _ in range(30):
        job_id = await watcher.submit("aio_waits", "aio")
        while (await watcher.read(job_id)).status.value == "queued":
            pass
        job = await watcher.cancel(job_id)
        assert job.status.value == "canceled"


async def test_a_cancellation_that_nobody_asked_for_is_an_error_of_the_model(watcher: Watcher) -> None:
    job = await watcher.run("aio_cancels_itself", "aio")
    assert how(job) == ("failed", "model-error", None)


async def test_a_job_that_never_began_tells_no_step(watcher: Watcher) -> None:
    blocker = await watcher.submit("sleeps", "sync")
    await watcher.until_begun(blocker)
    waiting = await watcher.submit("sleeps", "sync")
    await asyncio.sleep(0.2)
    job = await watcher.cancel(waiting)
    assert how(job) == ("canceled", "canceled", None)
    await watcher.cancel(blocker)
