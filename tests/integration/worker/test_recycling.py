"""Runners are replaced, and jobs do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from tests.integration.worker.conftest import Caller, Worker

from longrun.blobs.open import open_blobs
from longrun.models import Registry, load_target
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store
from longrun.worker import recycle
from longrun.worker.engine import Engine
from longrun.worker.plan import WorkerPlan

pytestmark = pytest.mark.slow

APP = Path(__file__).with_name("models_that_wear_out.py")
#: Seconds for what takes a few on an idle machine.
PATIENCE = 120.0


async def pids(caller: Caller, ids: list[str]) -> list[int]:
    """The runner of each job, all of which ended well at their first attempt."""
    jobs = [await caller.end(job_id, timeout=PATIENCE) for job_id in ids]
    assert {(job.status.value, job.attempt) for job in jobs} == {("succeeded", 1)}
    for job_id in ids:
        assert [attempt.outcome for attempt in await caller.store.records.attempts(job_id, "t")] == ["succeeded"]
    return [orjson.loads(job.output or b"") for job in jobs]


def logged(worker: Worker, event: str) -> list[dict[str, Any]]:
    lines = [line for line in worker.log.read_bytes().splitlines() if line.startswith(b"{")]
    return [line for line in map(orjson.loads, lines) if line["event"] == event]


async def entry(caller: Caller, model: str) -> dict[str, Any]:
    workers, *_ = await caller.store.records.overview()
    return dict(orjson.loads(workers[0])["models"][model]) if workers else {"state": "not there"}


def runners(worker: Worker) -> list[psutil.Process]:
    """Those that live."""
    found = []
    for child in psutil.Process(worker.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "longrun.worker.runner" in child.cmdline():
                found.append(child)
    return found


async def until_logged(worker: Worker, event: str) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE
    while not (said := logged(worker, event)):
        assert time.monotonic() < end, f"{event!r} was not logged"
        await asyncio.sleep(0.05)
    return said[0]


async def until_one_is_left(worker: Worker, *others: int) -> psutil.Process:
    """The one runner, once there is one and it is none of `others`."""
    end = time.monotonic() + PATIENCE
    while True:
        found = runners(worker)
        if len(found) == 1 and found[0].pid not in others:
            return found[0]
        assert time.monotonic() < end, f"runners: {found}"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("model", ["plain", "batch", "aio"])
async def test_the_next_runner_loads_while_the_old_one_works_and_no_job_notices(start_worker: Any, caller: Caller, model: str) -> None:
    worker = start_worker("--queues", model, app=APP)
    await caller.ready(model, PATIENCE)
    runs: list[int] = []
    while len(runs) < 4000 and len(set(runs)) < 2:
        runs += await pids(caller, [await caller.submit(model, model) for _ in range(20)])
    first, *others = dict.fromkeys(runs)
    assert others, "the runner was not replaced"
    # While the next one loaded, the old one went on working.
    assert runs.count(first) > 3 + 2
    assert all(said["beside"] for said in logged(worker, "runner is to be replaced"))
    replaced = logged(worker, "runner replaced")
    assert [said["before"] for said in replaced][: len(others)] == [first, *others][: len(others)]
    await until_one_is_left(worker, first)


async def test_a_long_job_ends_in_the_old_runner_while_the_new_one_takes_the_others(start_worker: Any, caller: Caller) -> None:
    worker = start_worker("--queues", "aio", app=APP)
    await caller.ready("aio", PATIENCE)
    (old,) = runners(worker)
    long = await caller.submit("aio", "aio", seconds=40)
    await caller.until(long, "running")
    assert set(await pids(caller, [await caller.submit("aio", "aio") for _ in range(3)])) == {old.pid}
    await until_logged(worker, "runner replaced")
    # All ten places of the new one are there, though the old one still holds a job.
    ids = [await caller.submit("aio", "aio", seconds=10) for _ in range(10)]
    while (states := {(await caller.read(job_id)).status.value for job_id in ids}) != {"running"}:
        assert "succeeded" not in states, "they did not all run at once"
        await asyncio.sleep(0.05)
    assert old.pid not in await pids(caller, ids)
    assert (await caller.read(long)).status == "running"
    assert await pids(caller, [long]) == [old.pid]
    await until_one_is_left(worker, old.pid)


async def test_a_runner_with_a_gpu_ends_before_the_next_one_loads(start_worker: Any, caller: Caller) -> None:
    worker = start_worker("--queues", "gpu", app=APP)
    await caller.ready("gpu", PATIENCE)
    ids = [await caller.submit("gpu", "gpu") for _ in range(10)]
    most = 0
    for job_id in ids:
        while not (await caller.read(job_id)).terminal:
            most = max(most, len(runners(worker)))
            await asyncio.sleep(0.01)
    runs = await pids(caller, ids)
    assert len(set(runs)) >= 3
    assert most == 1
    assert not any(said["beside"] for said in logged(worker, "runner is to be replaced"))


async def test_the_next_runner_takes_over_from_one_that_dies_meanwhile(start_worker: Any, caller: Caller) -> None:
    worker = start_worker("--queues", "plain", app=APP)
    await caller.ready("plain", PATIENCE)
    (old,) = runners(worker)
    await pids(caller, [await caller.submit("plain", "plain") for _ in range(3)])
    end = time.monotonic() + PATIENCE
    while len(runners(worker)) < 2:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    (new,) = [runner for runner in runners(worker) if runner != old]
    old.kill()
    await until_logged(worker, "runner ended")
    assert await pids(caller, [await caller.submit("plain", "plain")]) == [new.pid]
    assert (await until_one_is_left(worker, old.pid)).pid == new.pid


@pytest.mark.parametrize("model", ["hog", "herd"])
async def test_a_runner_that_holds_too_much_memory_is_replaced(start_worker: Any, caller: Caller, model: str) -> None:
    worker = start_worker("--queues", model, app=APP)
    await caller.ready(model, PATIENCE)
    (first,) = runners(worker)
    runs: list[int] = []
    while len(runs) < 40 and len(set(runs)) < 2:
        runs += await pids(caller, [await caller.submit(model, model)])
    assert len(set(runs)) == 2
    assert "bytes" in logged(worker, "runner is to be replaced")[0]["why"]
    await until_one_is_left(worker, first.pid)


async def test_a_model_that_is_over_its_limit_from_the_start_is_not_replaced_for_ever(start_worker: Any, caller: Caller) -> None:
    worker = start_worker("--queues", "heavy", app=APP)
    await caller.ready("heavy", PATIENCE)
    assert len(set(await pids(caller, [await caller.submit("heavy", "heavy") for _ in range(4)]))) == 1
    assert len(logged(worker, "max_memory is less than the loaded models hold, and not in force")) == 1


async def test_a_runner_that_hangs_in_load_is_replaced_and_its_jobs_wait(start_worker: Any, caller: Caller, tmp_path: Path) -> None:
    worker = start_worker("--queues", "hangs", app=APP, MARKER=str(tmp_path / "first"))
    job_id = await caller.submit("hangs", "hangs")
    end = time.monotonic() + PATIENCE
    while not (found := await entry(caller, "hangs")).get("last_failure"):
        assert time.monotonic() < end
        assert (await caller.read(job_id)).attempt == 0
        await asyncio.sleep(0.02)
    assert "not loaded after 6 s" in found["last_failure"]
    await pids(caller, [job_id])
    # The log says where it hung.
    assert "in load\n" in worker.log.read_text()


async def test_what_a_model_has_started_ends_with_its_runner_even_if_it_holds_the_pipe(start_worker: Any, caller: Caller) -> None:
    worker = start_worker("--queues", "parent", app=APP)
    await caller.ready("parent", PATIENCE)
    family = [psutil.Process(pid) for pid in orjson.loads((await caller.run("parent", "parent")).output or b"")]
    family[0].kill()
    _, alive = psutil.wait_procs(family[1:], timeout=30)
    assert alive == []
    again = orjson.loads((await caller.run("parent", "parent")).output or b"")
    assert again[0] != family[0].pid
    assert logged(worker, "runner ended")[0]["how"] == "SIGKILL"


async def test_an_idle_runner_that_was_stopped_is_replaced(start_worker: Any, caller: Caller) -> None:
    """Takes over half a minute: the real patience of a real worker."""
    worker = start_worker("--queues", "deadlock", app=APP)
    await caller.ready("deadlock", PATIENCE)
    (old,) = runners(worker)
    old.send_signal(signal.SIGSTOP)
    new = await until_one_is_left(worker, old.pid)
    assert await pids(caller, [await caller.submit("deadlock", "deadlock")]) == [new.pid]
    assert logged(worker, "runner is ended")[0]["why"] == "it holds no job and answers no ping"


class Nobody:
    """Is not interested in what becomes of a ticket."""

    def accepted(self, pid: int, at: float) -> None: ...

    def finished(self, status: str, run_s: float) -> None: ...

    def stale(self) -> None: ...


@pytest.fixture
async def impatient(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """A worker's engine in this process, with a runner of its own, that gives an idle runner 3 s in place of 30."""
    monkeypatch.setattr(recycle, "_TICK", 0.1)
    monkeypatch.setattr(recycle, "_PING_EVERY", 2)
    monkeypatch.setattr(recycle, "_UNANSWERED", 15)
    specs = [spec for spec in load_target(str(APP), Registry()) if spec.name == "deadlock"]
    blobs = open_blobs(settings)
    store = partial(Store, settings.redis_url, settings, ticket_template())
    plan = WorkerPlan("1f3a9c", "impatient", str(APP), specs, settings, store, blobs)
    engine = Engine(plan, lambda: None)
    engine.start()
    await until(lambda: engine.tables.seats[0].serves("deadlock"), "the model is loaded")
    yield engine
    await asyncio.to_thread(engine.stop, 0)
    engine.loop.close()
    blobs.close()


async def until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, f"not: {what}"
        await asyncio.sleep(0.02)


async def run(engine: Engine, caller: Caller, **data: Any) -> int:
    job_id = await caller.submit("deadlock", "deadlock", **data)
    # As the hub does it: a job that was given back has a new ticket, which is taken when there is room.
    while not (job := await caller.read(job_id)).terminal:
        if job.status == "queued" and dict(engine.free_slots())["deadlock.deadlock"]:
            engine.take([("deadlock.deadlock", job_id, Nobody())])
        await asyncio.sleep(0.1)
    (pid,) = await pids(caller, [job_id])
    return pid


async def test_an_idle_runner_whose_thread_keeps_the_gil_gets_no_job_and_is_replaced(impatient: Engine, caller: Caller) -> None:
    (seat,) = impatient.tables.seats
    old = await run(impatient, caller, leave=True)
    await until(lambda: seat.deaf, "it does not answer")
    assert await run(impatient, caller) != old
    assert not psutil.pid_exists(old)


async def test_a_job_that_keeps_the_gil_is_no_reason_to_replace_its_runner(impatient: Engine, caller: Caller) -> None:
    old = await run(impatient, caller, seconds=8)
    assert await run(impatient, caller) == old
