"""A job that leaves its process in a bad state and fails costs nobody else anything."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from tests.integration.worker.conftest import Caller, Worker
from tests.integration.worker.models_that_leave_things import LEFT, LEFT_TO_THE_LOOP

APP = Path(__file__).with_name("models_that_leave_things.py")
#: In an event loop's thread they watch all that its tasks do: there they are the author's.
WATCHERS = {"a_tracer_that_raises_later", "a_profiler_that_exits_later"}
CASES = [("leaves", what) for what in LEFT]
CASES += [("leaves_async", what) for what in (*LEFT, *LEFT_TO_THE_LOOP) if what not in WATCHERS]


@pytest.mark.parametrize(("model", "what"), CASES)
async def test_what_a_job_leaves_behind_costs_its_neighbours_nothing(shared: Caller, shared_worker: Worker, model: str, what: str) -> None:
    pid = orjson.loads((await shared.run(model, what="")).output or b"")
    innocent = [await shared.submit(model, what="") for _ in range(2)]
    guilty = await shared.submit(model, what=what)
    innocent += [await shared.submit(model, what="") for _ in range(3)]
    failed = await shared.end(guilty, timeout=100)
    assert (failed.status.value, failed.attempt) == ("failed", 1)
    assert orjson.loads(failed.error or b"")["cause"] == "ValueError"
    ended = [await shared.end(job_id, timeout=100) for job_id in innocent]
    assert [(job.status.value, job.attempt, orjson.loads(job.output or b"0")) for job in ended] == [("succeeded", 1, pid)] * 5
