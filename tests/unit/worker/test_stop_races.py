"""Moments at which the order to stop comes between two steps of ours."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, cast

from longrun.errors import SoftTimeLimit
from longrun.models import isolated_registry, model
from longrun.worker.engine import Engine
from longrun.worker.leases import Leases
from longrun.worker.runner.async_executor import AsyncExecutor
from longrun.worker.runner.interrupts import Interrupts
from longrun.worker.runner.pipe import Pipe
from longrun.worker.runner.reports import Reports
from longrun.worker.runner.running import Running


class Frames:
    """A pipe that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def send(self, *members: Any) -> None:
        self.sent.append(members)


async def test_an_async_job_that_is_stopped_before_its_first_step_is_told_of() -> None:
    with isolated_registry():

        @model
        async def waits(seconds: float) -> None:
            await asyncio.sleep(seconds)

    spec, pipe = waits.__longrun__, Frames()  # type: ignore[attr-defined]
    executor = AsyncExecutor(spec, spec.instantiate(), Reports(cast(Pipe, pipe)), asyncio.get_running_loop())
    # Both orders are on the loop before it turns.
    executor.put([("job_1", 1, b'{"seconds": 1000}', b"")], batch=False)
    executor.cancel([("job_1", 1)], SoftTimeLimit, interrupt=False)
    for _ in range(6000):
        await asyncio.sleep(0.01)
        if pipe.sent:
            break
    ((kind, done),) = pipe.sent
    assert kind == "done"
    assert done[0][:3] == ("job_1", 1, "canceled")


def test_an_interrupt_that_comes_when_the_code_has_returned_costs_no_outcome() -> None:
    go = threading.Event()

    class Late(Running):
        """Lets the code return at the last moment before the interrupt, which holds the lock then."""

        @property
        def unwanted(self) -> bool:
            go.set()
            time.sleep(0.3)
            return True

    job, interrupts = Late(("job_1", 1, b"{}", b""), Reports(cast(Pipe, Frames()))), Interrupts()
    begun = threading.Event()

    def code() -> str:
        begun.set()
        go.wait(20)
        return "whole"

    ends: list[Any] = []

    def run() -> None:
        try:
            ends.append(interrupts.call(job.group, code))
        except SoftTimeLimit as error:
            ends.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    begun.wait(20)
    job.tell(SoftTimeLimit, is_async=False)
    interrupts.interrupt(job)
    thread.join(20)
    assert job.interrupted
    assert ends == ["whole"]
    assert (job.raised, job.softened) == ("", False), "it was whole before its time was over"


async def test_a_cancel_that_comes_before_the_answer_to_the_claim_is_not_lost() -> None:
    stopped: list[tuple[Any, str]] = []

    class Half:
        """As much of an engine as `Leases` asks for here."""

        def __init__(self) -> None:
            self.runs: dict[str, Any] = {}
            self.limits = self

        def request_stop(self, run: Any, reason: str) -> None:
            stopped.append((run, reason))

        def spawn(self, work: Any) -> None:
            self.task = asyncio.ensure_future(work)

    engine = Half()
    Leases(cast(Engine, engine))._cancel("job_1")
    await asyncio.sleep(0.1)
    assert stopped == []
    engine.runs["job_1"] = (None, "the run")
    await asyncio.wait_for(engine.task, 20)
    assert stopped == [("the run", "canceled")]
