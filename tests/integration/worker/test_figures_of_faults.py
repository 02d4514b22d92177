"""`run_s` is the time in the model's code also where a worker stops, dies or stands still, and where the store is away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.integration.worker.conftest import Caller, Worker
from tests.integration.worker.figures_desk import MODELS, NEAR, Desk, at
from tests.waiting import until

from longrun.embedded import EmbeddedValkey
from longrun.settings import Settings
from longrun.store.store import Store


@dataclass(slots=True)
class Own:
    """A worker that comes to harm, and the desk beside it."""

    desk: Desk
    start: Callable[[], Worker]
    worker: Worker


@pytest.fixture
def own(settings: Settings, start_worker: Any, store: Store, tmp_path: Path) -> Own:
    desk = Desk(Caller(store), settings, tmp_path / "code")

    def start() -> Worker:
        worker: Worker = start_worker("--queues", "sync", app=MODELS, models="works", CODE_LOG=str(desk.log))
        return worker

    return Own(desk, start, start())


async def test_what_a_stopping_worker_hands_back_has_run_until_then(own: Own) -> None:
    job_id = await own.desk.caller.submit("works", "sync", seconds=3)
    await own.desk.until_in_code(job_id)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(own.worker.stop)
    (row,) = await own.desk.attempts(job_id)
    await asyncio.sleep(1)
    own.start()
    job, rows = await own.desk.agreed(job_id, {1: at(row["finished_at"]) - (time.time() - time.monotonic())})
    assert (job.status, [row["outcome"] for row in rows]) == ("succeeded", ["released", "succeeded"])
    # It waited for the next worker, and not while the first one had it.
    assert rows[1]["queue_s"] > 0.9
    await own.desk.counted("works", dict.fromkeys(("queue", "wait", "run", "store"), 0.0), job_id)


@pytest.mark.parametrize("lease", [2])
async def test_of_a_lost_worker_nobody_knows_how_long_it_ran(own: Own) -> None:
    job_id = await own.desk.caller.submit("works", "sync", seconds=0.6)
    await own.desk.until_in_code(job_id)
    own.worker.kill()
    own.start()
    job = await own.desk.caller.end(job_id)
    rows = await own.desk.attempts(job_id)
    assert (job.status, [row["outcome"] for row in rows]) == ("succeeded", ["crashed", "succeeded"])
    assert (rows[0]["wait_s"], rows[0]["run_s"], rows[0]["store_s"]) == (None, None, None)
    assert json.loads(job.usage or b"{}")["run_s"] == pytest.approx(0.6, abs=NEAR)
    # It was not queued while its first worker was taken for alive.
    assert rows[1]["queue_s"] < 1.5
    await own.desk.counted("works", dict.fromkeys(("queue", "wait", "run", "store"), 0.0), job_id)


@pytest.mark.parametrize("how", ["", "raises", "dies"])
async def test_a_store_that_is_away_adds_to_the_time_of_storing_alone(own: Own, valkey: EmbeddedValkey, how: str) -> None:
    job_id = await own.desk.caller.submit("works", "sync", seconds=0.8, how=how)
    await own.desk.until_in_code(job_id)
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(3)
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    await own.desk.caller.end(job_id)
    _, rows = await own.desk.agreed(job_id)
    assert rows[0]["run_s"] < 0.8 + NEAR
    assert rows[0]["store_s"] > 1.5
    await own.desk.counted("works", dict.fromkeys(("queue", "wait", "run", "store"), 0.0), job_id)


@pytest.mark.parametrize("how", ["", "dies"])
async def test_a_worker_that_stood_still_counts_no_longer_than_the_code_ran(own: Own, how: str) -> None:
    job_id = await own.desk.caller.submit("works", "sync", seconds=0.8, how=how)
    await own.desk.until_in_code(job_id)
    (runner,) = own.worker.runners
    await asyncio.sleep(0.3)
    own.worker.kill(signal.SIGSTOP)
    await until(lambda: own.desk.visits(job_id)[0][2] < float("inf"), "its code has ended")
    if how:
        await until(lambda: runner.status() == psutil.STATUS_ZOMBIE, "the runner is dead")
    await asyncio.sleep(2)
    own.worker.kill(signal.SIGCONT)
    await own.desk.caller.end(job_id)
    rows = await own.desk.attempts(job_id)
    assert rows[0]["run_s"] <= 0.8 + NEAR
    if not how:
        await own.desk.agreed(job_id)
    await own.desk.counted("works", dict.fromkeys(("queue", "wait", "run", "store"), 0.0), job_id)
