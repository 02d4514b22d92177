"""Stopping in steps."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from longrun.steps import await_steps, take_steps


def fail() -> None:
    raise RuntimeError("no")


def test_every_step_is_taken_and_each_failure_is_logged_once_by_its_name() -> None:
    taken: list[int] = []
    with capture_logs() as lines:
        take_steps([("one", fail), ("two", lambda: taken.append(2)), ("three", fail), ("four", lambda: taken.append(4))])
    assert taken == [2, 4]
    assert [line["step"] for line in lines] == ["one", "three"]
    assert all(isinstance(line["exc_info"], RuntimeError) for line in lines)


def test_an_interruption_has_its_effect_when_all_steps_are_taken() -> None:
    taken: list[int] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_steps([("one", interrupted), ("two", lambda: taken.append(2))])
    assert taken == [2]


def test_a_report_that_fails_keeps_no_step_from_being_taken() -> None:
    taken: list[int] = []

    def report(step: str, error: BaseException) -> None:
        raise OSError(28, "No space left on device")

    take_steps([("one", fail), ("two", lambda: taken.append(2))], report)
    assert taken == [2]


async def test_what_a_step_gives_is_awaited_and_a_cancellation_waits_for_the_others() -> None:
    taken: list[str] = []

    async def slow(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        taken.append(name)

    async def broken() -> None:
        await asyncio.sleep(0)
        fail()

    stopping = asyncio.create_task(
        await_steps([("broken", broken), ("plain", fail), ("canceled", lambda: slow("never", 60)), ("last", lambda: slow("last", 0.01))])
    )
    await asyncio.sleep(0.05)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert taken == ["last"]
