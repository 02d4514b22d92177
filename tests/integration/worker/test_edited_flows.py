"""Flows that wait while somebody edits their file: what is still asked for is there, what is new runs, what is not asked for is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import Caller
from tests.integration.worker.test_steps import called

SOURCE = """
import os, time
from pathlib import Path
from longrun import Job, Model, model

@model(queue="work", concurrency=4)
def work(name: str, job: Job, gate: str = "") -> str:
    with Path(os.environ["CALLS"]).open("a") as file:
        file.write(f"{name} {os.getpid()}\\n")
    job.usage(cost_usd=0.5)
    while gate and not Path(gate).exists():
        time.sleep(0.01)
    return f"{name} done"

class Flow(Model):
    async def predict(self, job: Job, gate: str = "") -> list[str]:
        first = await job.run(work, name="first")
        return [first, await job.run(work, name="second", gate=gate)]

class SyncFlow(Model):
    def predict(self, job: Job, gate: str = "") -> list[str]:
        first = job.run(work, name="first")
        return [first, job.run(work, name="second", gate=gate)]
"""


@pytest.mark.parametrize("flow", ["flow", "sync_flow"])
async def test_s4_a_flow_that_is_edited_while_it_waits_pays_for_its_new_step_alone(
    start_worker: Any, caller: Caller, tmp_path: Path, flow: str
) -> None:
    calls, gate, app = tmp_path / "calls", tmp_path / "gate", tmp_path / "edited.py"
    app.write_text(SOURCE)
    start_worker("--queues", "work", app=app, CALLS=str(calls))
    worker = start_worker("--queues", "default", app=app, CALLS=str(calls))
    job_id = await caller.submit(flow, gate=str(gate))
    await called(calls, "second")
    await caller.until(job_id, "waiting")
    assert worker.stop() == 0
    app.write_text(SOURCE.replace('name="first"', 'name="other"'))
    gate.touch()
    start_worker("--queues", "default", app=app, CALLS=str(calls))
    job = await caller.end(job_id)
    assert (job.status.value, orjson.loads(job.output or b"")) == ("succeeded", ["other done", "second done"])
    assert sorted(line.split()[0] for line in calls.read_text().splitlines()) == ["first", "other", "second"]
    events = (await caller.store.records.events(job_id, "t", 0, 100)).events
    (unused,) = [text for event in events if event.type == "log" and "steps-unused" in (text := str(event.data))]
    assert "; they have used cost_usd 0.5" in unused
