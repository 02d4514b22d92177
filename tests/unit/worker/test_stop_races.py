"""Moments at which the order to stop comes between two steps of ours."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from longrun.errors import Canceled, SoftTimeLimit
from longrun.models import isolated_registry, model
from longrun.worker.runner.async_executor import AsyncExecutor
from longrun.worker.runner.context import Context
from longrun.worker.runner.interrupts import Interrupts
from longrun.worker.runner.run import Run
from longrun.worker.runner.sync_executor import SyncExecutor


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
    executor = AsyncExecutor(spec, spec.instantiate(), Context(pipe.send), loop=asyncio.get_running_loop())
    # Both orders are on the loop before it turns.
    executor.put([("job_1", "1/n", b'{"seconds": 1000}', b"", False)])
    executor.stop([("job_1", "1/n")], SoftTimeLimit, interrupt=False)
    for _ in range(6000):
        await asyncio.sleep(0.01)
        if pipe.sent:
            break
    ((kind, done),) = pipe.sent
    assert kind == "done"
    assert done[0][:3] == ("job_1", "1/n", "canceled")


def test_a_sync_job_that_loops_is_stopped_by_an_exception() -> None:
    begun = threading.Event()
    with isolated_registry():

        @model
        def loops(number: int) -> None:
            begun.set()
            while True:
                pass

    spec, pipe = loops.__longrun__, Frames()  # type: ignore[attr-defined]
    executor = SyncExecutor(spec, spec.instantiate(), Context(pipe.send))
    threading.Thread(target=executor.serve, daemon=True).start()
    executor.put([("job_1", "1/n", b'{"number": 1}', b"", False)])
    begun.wait(20)
    executor.stop([("job_1", "1/n")], Canceled, interrupt=False)
    time.sleep(0.1)
    assert pipe.sent == []
    executor.stop([("job_1", "1/n")], Canceled, interrupt=True)
    until = time.monotonic() + 20
    while not pipe.sent and time.monotonic() < until:
        time.sleep(0.01)
    ((kind, done),) = pipe.sent
    assert kind == "done"
    assert (done[0][:3], done[0][5]) == (("job_1", "1/n", "canceled"), "exception")


def test_an_interrupt_that_comes_when_the_code_has_returned_costs_no_outcome() -> None:
    go = threading.Event()

    class Late(Run):
        """Lets the code return at the last moment before the interrupt, which holds the lock then."""

        @property
        def unwanted(self) -> bool:
            go.set()
            time.sleep(0.3)
            return True

    job, interrupts = Late(("job_1", "1/n", b"{}", b"", False), Context(Frames().send)), Interrupts()
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
    job.request_stop(SoftTimeLimit, is_async=False)
    interrupts.interrupt(job)
    thread.join(20)
    assert job.interrupted
    assert ends == ["whole"]
    assert (job.raised, job.partial) == ("", False), "it was whole before its time was over"
