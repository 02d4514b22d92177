"""What a job raises costs that job alone, whatever kind its model is of: its neighbours and their process go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import Caller, Worker
from tests.integration.worker.nasty_exceptions import NASTY

from longrun.jobs.policy import Policy
from longrun.jobs.record import JobRecord
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store

APP = Path(__file__).with_name("models_that_raise.py")
PATIENCE = 300
#: These are run again when nobody is beside them.
ALONE = {"out_of_memory", "out_of_memory_in_a_ring"}
#: A batch takes six.
NEIGHBOURS = 5


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Innocent async jobs last until this is there."""
    return tmp_path_factory.mktemp("done") / "done"


@pytest.fixture(scope="module")
def worker(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory, done: Path) -> Any:
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    worker = Worker(module_settings, log, app=APP, NASTY_DONE=str(done))
    yield worker
    worker.stop()


@pytest.fixture
async def raising(worker: Worker, module_settings: Settings) -> AsyncIterator[Caller]:
    store = Store(module_settings.redis_url, module_settings, ticket_template())
    yield Caller(store)
    await store.close()


def pid_of(job: JobRecord) -> Any:
    output = orjson.loads(job.output or b"null")
    return output[-1] if isinstance(output, list) else output


async def ends(caller: Caller, ids: list[str]) -> list[JobRecord]:
    return [await caller.end(job_id, timeout=PATIENCE) for job_id in ids]


@pytest.mark.parametrize(
    "model", ["raises", "raises_async", "raises_yielding", pytest.param("raises_yielding_async", marks=pytest.mark.slow)]
)
async def test_neighbours_of_whatever_is_raised_succeed_at_once_and_in_the_same_process(
    raising: Caller, worker: Worker, done: Path, model: str
) -> None:
    done.unlink(missing_ok=True)  # noqa: ASYNC240
    beside = [await raising.submit("raises_async", what="") for _ in range(NEIGHBOURS)]
    first = await raising.until(beside[0], "running", timeout=PATIENCE)
    guilty = {name: await raising.submit(model, what=name) for name in NASTY if name not in ALONE}
    failed = dict(zip(guilty, await ends(raising, list(guilty.values())), strict=True))
    alone = [await raising.submit(model, what=name) for name in ALONE]
    done.touch()  # noqa: ASYNC240
    assert {job.status.value for job in await ends(raising, alone)} == {"failed"}
    after = await raising.end(await raising.submit(model, what=""), timeout=PATIENCE)
    innocent = [*await ends(raising, beside), after]
    assert first.attempt == 1
    # Their errors, not their attempts: those that wait behind one that takes its second are claimed anew.
    assert {name: (job.status.value, job.errors) for name, job in failed.items()} == dict.fromkeys(guilty, ("failed", 0))
    assert [(job.status.value, job.attempt) for job in innocent] == [("succeeded", 1)] * (NEIGHBOURS + 1)
    # A further runner has come and gone for a job for which memory was short beside others.
    assert len({pid_of(job) for job in innocent}) == 1
    for job in failed.values():
        assert len(job.error or b"") < 30_000


@pytest.mark.parametrize("model", ["raises_batched", pytest.param("raises_batched_async", marks=pytest.mark.slow), "returns_batched"])
async def test_neighbours_in_the_same_batch_succeed_at_once_too(raising: Caller, worker: Worker, model: str) -> None:
    guilty, innocent = {}, []
    for name in NASTY:
        innocent += [await raising.submit(model, what="") for _ in range(2)]
        guilty[name] = await raising.submit(model, what=name)
        innocent += [await raising.submit(model, what="") for _ in range(NEIGHBOURS - 2)]
    failed = dict(zip(guilty, await ends(raising, list(guilty.values())), strict=True))
    assert {name: job.status.value for name, job in failed.items()} == dict.fromkeys(NASTY, "failed")
    assert {name for name, job in failed.items() if job.attempt > 1} <= ALONE
    succeeded = await ends(raising, innocent)
    assert {(job.status.value, job.attempt) for job in succeeded} == {("succeeded", 1)}
    # A further runner has come and gone for a job for which memory was short beside others.
    assert len({pid_of(job) for job in succeeded}) == 1


@pytest.mark.parametrize("model", ["retried", "retried_async"])
async def test_exits_are_tried_again_when_retry_names_them_and_not_before_that(raising: Caller, worker: Worker, model: str) -> None:
    policy = Policy(max_attempts=2, backoff=0)
    exit_, error = await ends(
        raising, [await raising.submit(model, what=what, policy=policy) for what in ("exit_with_a_reason", "str_exits")]
    )
    assert (exit_.attempt, error.attempt) == (1, 2)
    failure = orjson.loads(exit_.error or b"")
    assert failure["cause"] == "SystemExit"
    assert "no such voice" not in failure["detail"]
    assert "no such voice" in failure["debug"] and "nasty_exceptions/" in failure["debug"]
    assert "no such voice" in worker.log.read_text()
    again = await raising.end(await raising.submit("exits_retried", what="exit_with_a_reason", policy=policy), timeout=PATIENCE)
    assert (again.status.value, again.attempt) == ("succeeded", 2)


async def test_what_nobody_waits_for_is_logged_and_holds_up_nobody(raising: Caller, worker: Worker) -> None:
    jobs = await ends(raising, [await raising.submit("orphans", what=name) for name in NASTY])
    assert [(job.status.value, job.attempt) for job in jobs] == [("succeeded", 1)] * len(NASTY)
    # A further runner has come and gone for a job for which memory was short beside others.
    assert len({pid_of(job) for job in jobs}) == 1
    for _ in range(600):
        said = worker.log.read_text()
        if all(each in said for each in ("never retrieved", "Exception in thread", "did not say in time")):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(said[-3000:])


@pytest.mark.parametrize(
    ("raises", "cause", "said"),
    [
        ("load:exit_with_a_reason", "SystemExit", "SystemExit: no such voice"),
        ("init:an_odd_base_of_all", "Mine", "SystemExit was raised"),
        ("warmup:an_interrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("warmup:str_sleeps", "Nasty", "did not say in time"),
    ],
)
async def test_a_model_that_raises_anything_instead_of_loading_says_so(
    start_worker: Any, caller: Caller, raises: str, cause: str, said: str
) -> None:
    worker = start_worker(app=APP.with_name("models_that_do_not_load.py"), NASTY_LOAD=raises)
    for _ in range(1200):
        workers, *_ = await caller.store.records.overview()
        entry = orjson.loads(workers[0])["models"]["never"] if workers else {}
        if entry.get("last_failure"):
            break
        await asyncio.sleep(0.05)
    assert cause in entry["last_failure"]
    log = worker.log.read_text()
    assert "model did not load" in log and said in log and "nasty_exceptions/" in log
