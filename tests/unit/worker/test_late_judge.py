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


def run(stop: str | None) -> Any:
    return SimpleNamespace(stop=stop, exception_at=10.3, kill_at=11.0)


def seat(*runs: Any) -> Any:
    return SimpleNamespace(pong_at=9.8, process=None, runs=lambda: list(runs))


def test_its_runners_and_what_is_to_stop_get_the_time_that_it_stood_still() -> None:
    stopping, working = run("canceled"), run(None)
    place = seat(stopping, working)
    excuse([place], 2.0)
    assert place.pong_at == 11.8
    assert (stopping.exception_at, stopping.kill_at) == (12.3, 13.0)
    assert (working.exception_at, working.kill_at) == (10.3, 11.0)


async def test_it_notices_by_its_own_clock_that_it_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    spans: list[float] = []
    monkeypatch.setattr("longrun.worker.limits.excuse", lambda seats, span: spans.append(span))
    limits = Limits(Tables([]), 1.0, settler=cast(Settler, None), recount=cast(Any, None), replace=cast(Any, None))
    watching = asyncio.ensure_future(limits.watch_for_ever())
    await asyncio.sleep(0.15)
    time.sleep(0.8)  # noqa: ASYNC251 - the loop does not turn
    async with asyncio.timeout(60):
        while not spans:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    watching.cancel()
    assert spans[0] > 0.5
