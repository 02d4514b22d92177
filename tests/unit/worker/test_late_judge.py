"""A worker that had no core for a while blames nobody for what it could not hear meanwhile."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from longrun.worker.limits import Limits, excuse
from longrun.worker.settle import Settler
from longrun.worker.tables import Tables


def run(stop: str | None, stop_at: float = 9.9) -> Any:
    return SimpleNamespace(stop=stop, stop_at=stop_at, exception_at=stop_at + 0.4, kill_at=stop_at + 1, leaves=0.0)


def seat(*runs: Any, pong_at: float = 9.8) -> Any:
    return SimpleNamespace(pong_at=pong_at, process=None, runs=lambda: list(runs))


def test_its_runners_and_what_is_to_stop_get_the_time_that_it_stood_still() -> None:
    stopping, working = run("canceled"), run(None)
    place = seat(stopping, working)
    excuse([place], 10.0, 2.0)
    assert place.pong_at == 11.8
    assert (stopping.exception_at, stopping.kill_at) == pytest.approx((12.3, 12.9))
    assert (working.exception_at, working.kill_at) == pytest.approx((10.3, 10.9))


def test_what_is_to_unwind_gets_that_time_too() -> None:
    leaving = run(None)
    leaving.leaves = 9.9
    excuse([seat(leaving)], 10.0, 2.0)
    assert leaving.leaves == pytest.approx(11.9)


def test_what_is_asked_to_stop_when_it_goes_on_is_given_no_more_than_its_grace() -> None:
    canceled = run("canceled", stop_at=610.0)
    place = seat(canceled, pong_at=610.0)
    excuse([place], 10.0, 600.0)
    assert place.pong_at == 610.0
    assert (canceled.exception_at, canceled.kill_at) == pytest.approx((610.4, 611.0))


async def test_it_notices_by_its_own_clock_that_it_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    spans: list[float] = []
    monkeypatch.setattr("longrun.worker.limits.excuse", lambda seats, since, span: spans.append(span))
    none = cast(Any, None)
    limits = Limits(Tables([]), 1.0, settler=cast(Settler, None), recount=none, replace=none, rouse=none)
    watching = asyncio.ensure_future(limits.watch_for_ever())
    await asyncio.sleep(0.15)
    time.sleep(0.8)  # noqa: ASYNC251 - the loop does not turn
    async with asyncio.timeout(60):
        while not spans:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    watching.cancel()
    assert spans[0] > 0.5
