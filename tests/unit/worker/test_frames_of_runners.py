"""Each frame that a runner may send reaches the part of the worker that it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from tests.unit.worker.played import ECHO, PlayedProcess, Recorder, nothing, waiting

from longrun.blobs.contract import Blobs
from longrun.settings import Settings
from longrun.store.store import Store
from longrun.worker import frames
from longrun.worker.engine import Engine
from longrun.worker.plan import WorkerPlan
from longrun.worker.supervise.process import RunnerProcess
from longrun.worker.supervise.seat import Seat

#: By name: members, and the calls that they lead to.
FRAMES: dict[str, tuple[list[Any], list[str]]] = {
    "ready": (["echo", 0.5, 0.25], ["on_ready", "wake"]),
    "load-failed": (["echo", b"{}"], []),
    "events": (["job_1", "1/n", [("log", b"{}")]], ["add"]),
    "done": ([[]], ["on_done", "on_done", "on_done"]),
    "back": ([[]], ["on_back"]),
    "fits": (["echo", 2], []),
    "pong": ([7.0, [1, 2, 3]], []),
    "ask": (["job_1", "1/n", 1, -1, 0, 0, []], ["take"]),
    "journal": (["job_1", "1/n", 2, [], []], ["take"]),
    "drop": (["job_1", "1/n", ["n:a"]], ["take"]),
    "unsignal": (["job_1", "1/n", "ok"], ["take"]),
    "history": (["job_1", "1/n", 3], ["take"]),
    "files": (["job_1", "1/n", 4, []], ["take"]),
    "awake": (["job_1", "1/n"], ["take"]),
}


@pytest.fixture
def engine() -> Iterator[Engine]:
    """One that was not started, with a job in its runner."""
    plan = WorkerPlan("1f3a9c", "w1", "app.py", [ECHO], Settings(), cast(Any, Store), cast(Blobs, None))
    engine = Engine(plan, nothing)
    engine.emitter = engine.settler = engine.recycler = engine.suspects = engine.requests = cast(Any, Recorder())
    (seat,), (run,) = engine.tables.seats, waiting(engine.tables, "job_1")
    seat.process = cast(RunnerProcess, PlayedProcess(1000))
    seat.send("echo", [run])
    yield engine
    engine.loop.close()


def receive(engine: Engine, kind: str) -> tuple[Seat, list[str]]:
    (seat,) = engine.tables.seats
    engine._on_frame(seat, [kind, *FRAMES[kind][0]])
    return seat, [name for name, *_ in cast(Recorder, engine.settler).calls]


def test_these_are_all_frames_that_are_described() -> None:
    _, from_runner = (frames.__doc__ or "").split("| runner → worker")
    assert set(re.findall(r"^\| `([a-z-]+)`", from_runner, re.MULTILINE)) == set(FRAMES)


@pytest.mark.parametrize("kind", FRAMES)
def test_each_goes_where_it_belongs(engine: Engine, kind: str) -> None:
    assert receive(engine, kind)[1] == FRAMES[kind][1]


def test_a_seat_knows_what_its_runner_has_said(engine: Engine) -> None:
    for kind in FRAMES:
        seat, _ = receive(engine, kind)
    assert (seat.ready, seat.warmed, seat.cause, seat.fits) == ({"echo": 0.5}, {"echo": 0.25}, b"{}", {"echo": 2})
    assert (seat.gpu_memory, seat.unanswered) == ([1, 2, 3], 0)
    assert seat.pong_at >= 7.0


def test_nothing_is_stored_of_a_job_that_has_its_outcome(engine: Engine) -> None:
    engine.tables.runs["job_1"].settle()
    assert receive(engine, "events")[1] == []
