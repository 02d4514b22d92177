"""How the reason to stop gets into the code of a job, and how it is noted there."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from longrun.errors import Canceled, SoftTimeLimit
from longrun.worker.runner.context import Context
from longrun.worker.runner.interrupts import Interrupts, awaited
from longrun.worker.runner.run import Run


def running(job_id: str = "job_1") -> Run:
    return Run((job_id, "1/n", b"{}", b"", False), Context(lambda *_: None))


async def stopped(code: Any, kind: type[Canceled]) -> tuple[Run, asyncio.Task[Any]]:
    """Run `code` as a job, let it wait, and stop it as the executor does."""
    job = running()

    async def run() -> Any:
        return await awaited(code, job.group)

    task = asyncio.ensure_future(run())
    await asyncio.sleep(0.01)
    assert job.inside
    job.request_stop(kind, is_async=True)
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert not job.inside
    return job, task


async def test_async_code_gets_its_reason_where_it_waits() -> None:
    seen: list[type[BaseException]] = []

    async def code() -> str:
        try:
            await asyncio.sleep(1000)
        except SoftTimeLimit as limit:
            seen.append(type(limit))
            await asyncio.sleep(0.01)
        return "something"

    job, task = await stopped(code(), SoftTimeLimit)
    assert task.result() == "something"
    assert (job.raised, job.partial, task.cancelling()) == ("exception", True, 0)
    assert issubclass(seen[0], asyncio.CancelledError)


async def test_async_code_that_does_not_catch_it_ends_with_it() -> None:
    job, task = await stopped(asyncio.sleep(1000), Canceled)
    assert isinstance(task.exception() if not task.cancelled() else asyncio.CancelledError(), asyncio.CancelledError)
    assert (job.raised, job.partial) == ("exception", False)


async def test_a_cancellation_without_a_reason_stays_what_it_is() -> None:
    job = running()

    async def run() -> None:
        await awaited(asyncio.sleep(1000), job.group)

    task = asyncio.ensure_future(run())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not job.raised


async def test_an_inner_timeout_is_not_disturbed() -> None:
    async def code() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(1000)
        except TimeoutError:
            return "inner"
        return "never"

    assert await awaited(code(), running().group) == "inner"


def test_the_soft_limit_is_said_once_and_a_cancel_again_and_again() -> None:
    job = running()
    handle = job.handle("m")
    job.request_stop(SoftTimeLimit, is_async=False)
    with pytest.raises(SoftTimeLimit):
        handle.check()
    handle.check()
    assert handle.canceled
    assert (job.raised, job.partial) == ("flag", True)
    job.request_stop(Canceled, is_async=False)
    for _ in range(2):
        with pytest.raises(Canceled):
            handle.check()
    assert job.raised == "flag"


def interrupted(code: Any, job: Run, interrupts: Interrupts, after: float = 0.1) -> Any:
    """What `code` returns or raises on a thread of its own, when it is interrupted meanwhile."""
    ends: list[Any] = []

    def run() -> None:
        try:
            ends.append(interrupts.call(job.group, code))
        except BaseException as error:
            ends.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    time.sleep(after)
    job.request_stop(SoftTimeLimit, is_async=False)
    interrupts.interrupt(job)
    interrupts.interrupt(job)
    thread.join(20)
    assert not thread.is_alive()
    return ends[0]


def test_a_loop_of_python_is_interrupted_once() -> None:
    caught: list[BaseException] = []

    def code() -> str:
        try:
            while True:
                pass
        except SoftTimeLimit as limit:
            caught.append(limit)
        for _ in range(1000):
            time.sleep(0)
        return "something"

    job = running()
    assert interrupted(code, job, Interrupts()) == "something"
    assert len(caught) == 1
    assert (job.raised, job.partial) == ("exception", True)


def test_an_interrupt_waits_until_nobody_wants_the_batch() -> None:
    one, other = running("job_1"), running("job_2")
    one.group = other.group = [one, other]
    interrupts = Interrupts()
    assert interrupted(lambda: time.sleep(0.3) or "whole", one, interrupts) == "whole"
    assert not one.raised
    other.request_stop(SoftTimeLimit, is_async=False)
    with pytest.raises(SoftTimeLimit):
        raise interrupted(lambda: [time.sleep(0.01) for _ in range(1000)], one, interrupts)
    assert one.raised == other.raised == "exception"


def test_code_that_handles_its_flag_is_not_interrupted_meanwhile() -> None:
    job = running()
    job.request_stop(SoftTimeLimit, is_async=False)
    with pytest.raises(SoftTimeLimit):
        job.handle("m").check()
    assert interrupted(lambda: [time.sleep(0.01) for _ in range(30)] and "in peace", job, Interrupts()) == "in peace"


def test_an_interrupt_never_strikes_between_two_calls() -> None:
    """Five hundred times: user code ends at about the moment of the interrupt. It gets a value or the reason, and our own code nothing."""
    for n in range(500):
        job, interrupts = running(), Interrupts()
        ready = threading.Event()

        def code(ready: threading.Event = ready, n: int = n) -> str:
            ready.set()
            for _ in range(n):
                pass
            return "whole"

        ends: list[Any] = []

        def run(job: Run = job, interrupts: Interrupts = interrupts, code: Any = code, ends: list[Any] = ends) -> None:
            try:
                ends.append(interrupts.call(job.group, code))
            except SoftTimeLimit:
                ends.append("stopped")
            # Our own code: an interrupt that is late would end the thread here.
            for _ in range(200):
                pass
            ends.append("after")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        ready.wait(10)
        job.request_stop(SoftTimeLimit, is_async=False)
        interrupts.interrupt(job)
        thread.join(10)
        assert len(ends) == 2 and ends[0] in ("whole", "stopped") and ends[1] == "after"
        assert job.partial == (ends[0] == "stopped")
