"""A step of the worker's stop that fails keeps no other from being taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import pytest
from tests.failing_steps import failing_step
from tests.integration.worker.conftest import MODELS, Caller
from tests.waiting import PATIENCE

from longrun.blobs.open import open_blobs
from longrun.models import Registry, load_target
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.claims import Claims
from longrun.store.store import Store
from longrun.worker.engine import Engine
from longrun.worker.plan import WorkerPlan
from longrun.worker.supervise.guard import Guard
from longrun.worker.supervise.seat import Seat

#: What is called when the engine stops, in this order.
STEPS = [(Engine, "_wind_down"), (Claims, "leave"), (Seat, "close"), (Guard, "close"), (Store, "close")]


class Nobody:
    """Whom the end of a job does not matter."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


@pytest.mark.parametrize("failing", range(len(STEPS)), ids=[f"{kind.__name__}.{name}" for kind, name in STEPS])
async def test_each_other_step_is_taken(failing: int, settings: Settings, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [spec for spec in load_target(str(MODELS), Registry()) if spec.name in ("sleeper", "shout")]
    blobs = open_blobs(settings)
    plan = WorkerPlan(
        "1f3a9c", "stops", str(MODELS), specs, settings, partial(Store, settings.redis_url, settings, ticket_template()), blobs
    )
    engine = Engine(plan, lambda: None)
    engine.start()
    end = time.monotonic() + PATIENCE
    while not all(seat.loaded for seat in engine.tables.seats):
        assert time.monotonic() < end, "the models are not loaded"
        await asyncio.sleep(0.02)
    job_id = await caller.submit("sleeper", seconds=1000)
    engine.take([("default.sleeper", job_id, Nobody())])
    await caller.until(job_id, "running")
    processes = [seat.process for seat in engine.tables.seats]
    taken: list[int] = []

    for number, (kind, name) in enumerate(STEPS):
        monkeypatch.setattr(kind, name, failing_step(number, getattr(kind, name), taken, failing))
    await asyncio.to_thread(engine.stop, 0)
    assert set(taken) == set(range(len(STEPS))) and taken.count(2) == len(specs)
    assert not engine.thread.is_alive()
    assert all(process is not None and process._process is not None and process._process.returncode is not None for process in processes)
    assert engine.guard.pid == 0
    assert (await caller.read(job_id)).status == "queued"
    engine.loop.close()
    blobs.close()
