"""Parents and their steps in real workers: what dies while they wait, and what is asked to go."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import Caller, Worker
from tests.waiting import PATIENCE

from longrun.jobs.policy import Policy

APP = Path(__file__).with_name("models_that_run_steps.py")
FLOWS = pytest.mark.parametrize("flow", ["flow", "sync_flow"])
DONE = ["first done", "second done"]


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Where the models write what they are called with."""
    return tmp_path / "calls"


@pytest.fixture
def start(start_worker: Any, calls: Path) -> Callable[..., Worker]:
    """Start a worker of these models."""
    return lambda *arguments, **options: start_worker(*arguments, app=APP, CALLS=str(calls), **options)


def lines_of(calls: Path) -> list[tuple[str, int]]:
    """What was called so far, and in which process."""
    lines = calls.read_text().splitlines() if calls.exists() else []
    return [(name, int(pid)) for name, pid in (line.split() for line in lines)]


async def called(calls: Path, what: str) -> int:
    """The process that was called with it, as soon as one was."""
    end = time.monotonic() + PATIENCE
    while True:
        lines = lines_of(calls)
        for name, pid in lines:
            if name == what:
                return pid
        assert time.monotonic() < end, lines
        await asyncio.sleep(0.01)


def counted(calls: Path) -> Counter[str]:
    return Counter(name for name, _ in lines_of(calls))


async def waits_at_its_second_step(caller: Caller, calls: Path, tmp_path: Path, flow: str) -> tuple[str, Path]:
    """A flow that waits, and the gate at which its second step does."""
    gate = tmp_path / "gate"
    job_id = await caller.submit(flow, gate=str(gate))
    await called(calls, "second")
    await caller.until(job_id, "waiting")
    return job_id, gate


@FLOWS
async def test_a_flow_runs_its_steps_and_waits_for_them_without_a_slot(
    start: Any, caller: Caller, calls: Path, tmp_path: Path, flow: str
) -> None:
    start()
    job_id, gate = await waits_at_its_second_step(caller, calls, tmp_path, flow)
    # The flow runs one at a time; a second one passes.
    other = await caller.run(flow)
    assert orjson.loads(other.output or b"") == DONE
    gate.touch()
    job = await caller.end(job_id)
    assert (job.status.value, orjson.loads(job.output or b""), job.attempt) == ("succeeded", DONE, 1)
    assert counted(calls) == {"flow": 2, "first": 2, "second": 2}


@FLOWS
async def test_s1_s16_a_runner_that_dies_while_its_flow_waits_costs_nothing(
    start: Any, caller: Caller, calls: Path, tmp_path: Path, flow: str
) -> None:
    start()
    job_id, gate = await waits_at_its_second_step(caller, calls, tmp_path, flow)
    os.kill(await called(calls, "flow"), signal.SIGKILL)
    await asyncio.sleep(0.5)
    gate.touch()
    job = await caller.end(job_id)
    assert (job.status.value, orjson.loads(job.output or b"")) == ("succeeded", DONE)
    assert counted(calls) == {"flow": 2, "first": 1, "second": 1}
    attempts = await caller.store.records.attempts(job_id, "t")
    assert "worker-lost" not in {attempt.outcome for attempt in attempts}


@FLOWS
async def test_s15_a_worker_that_is_stopped_lets_its_flow_go_and_another_goes_on(
    start: Any, caller: Caller, calls: Path, tmp_path: Path, flow: str
) -> None:
    gate = tmp_path / "gate"
    # The steps run elsewhere, and outlive the worker of the flow.
    start("--queues", "work")
    worker = start("--queues", "default")
    job_id = await caller.submit(flow, gate=str(gate))
    await called(calls, "second")
    await caller.until(job_id, "waiting")
    assert worker.stop() == 0
    assert (await caller.read(job_id)).status.value == "waiting"
    gate.touch()
    start("--queues", "default")
    job = await caller.end(job_id)
    assert (job.status.value, orjson.loads(job.output or b"")) == ("succeeded", DONE)
    assert counted(calls) == {"flow": 2, "first": 1, "second": 1}
    outcomes = [attempt.outcome for attempt in await caller.store.records.attempts(job_id, "t")]
    assert outcomes[-1] == "succeeded"
    assert set(outcomes) <= {"waited", "succeeded"}


@pytest.mark.parametrize("flow", ["nested", "sync_nested"])
async def test_s18_parents_and_children_share_a_lane_with_one_slot(start: Any, caller: Caller, flow: str) -> None:
    start()
    job = await caller.run(flow, depth=3)
    assert (job.status.value, job.output) == ("succeeded", b"15")


@pytest.mark.parametrize("flow", ["flow", "sync_flow", *(pytest.param(each, marks=pytest.mark.slow) for each in ("nested", "sync_nested"))])
async def test_rehearsed_flows_replay_at_every_wait_and_come_to_the_same(start: Any, caller: Caller, calls: Path, flow: str) -> None:
    start("--rehearse")
    job = await caller.run(flow, **({"depth": 2} if "nested" in flow else {}))
    assert job.status.value == "succeeded"
    assert orjson.loads(job.output or b"") == (7 if "nested" in flow else DONE)
    if "nested" not in flow:
        assert counted(calls) == {"flow": 3, "first": 1, "second": 1}


@FLOWS
@pytest.mark.parametrize("how", ["canceled", pytest.param("timeout", marks=pytest.mark.slow)])
async def test_s13_s19_a_flow_that_waits_is_stopped(start: Any, caller: Caller, calls: Path, flow: str, how: str) -> None:
    start()
    await caller.ready(flow)
    await caller.ready("work")
    policy = Policy(total_timeout=4.0) if how == "timeout" else Policy()
    job_id = await caller.submit(flow, gate=str(calls.with_name("never")), policy=policy)
    await called(calls, "second")
    await caller.until(job_id, "waiting")
    if how == "canceled":
        await caller.store.records.cancel(job_id, "t")
    job = await caller.end(job_id)
    assert orjson.loads(job.error or b"")["code"] == how
    assert counted(calls)["flow"] == 1
