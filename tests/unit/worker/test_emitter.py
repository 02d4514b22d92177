"""Events wait for a store that is slow or away: in order, once each, and in bounded memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import pytest

from longrun.errors import StoreUnavailable
from longrun.jobs.policy import Policy
from longrun.store.claims import Claim
from longrun.store.store import Store
from longrun.worker.emitter import Emitter
from longrun.worker.run import Run

Events = Sequence[tuple[str, bytes]]


class Log:
    """The log of one job, as `append.lua` keeps it: what it has already is skipped by its number."""

    def __init__(self) -> None:
        self.events: list[tuple[str, bytes]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.lose_answers = 0
        self.calls = 0

    @property
    def claims(self) -> Log:
        return self

    async def append(self, job_id: str, attempt: int, first: int, progress: bytes, events: Events) -> bool:
        self.calls += 1
        await self.open.wait()
        assert first <= len(self.events)
        self.events += events[len(self.events) - first :]
        if self.lose_answers:
            self.lose_answers -= 1
            raise StoreUnavailable("the answer was lost")
        return True


def log(n: int) -> tuple[str, bytes]:
    return "log", b'{"level":"info","message":"%d"}' % n


def progress(n: int) -> tuple[str, bytes]:
    return "progress", b'{"fraction":%d}' % n


def output(n: int) -> tuple[str, bytes]:
    return "output", b'{"value":%d}' % n


class Setting:
    """An emitter, its log, and a run."""

    def __init__(self) -> None:
        self.log = Log()
        self.run = Run(Claim("job_1", 1, b"{}", Policy(), "", 0, 0, 0), cast(Any, None), ())
        self.emitter = Emitter(cast(Store, self.log), lambda _: None)
        self.tasks: list[asyncio.Future[Any]] = []

    def add(self, *events: tuple[str, bytes]) -> None:
        self.emitter.add(self.run, events, lambda work: self.tasks.append(asyncio.ensure_future(work)))

    async def end(self) -> Events:
        self.log.open.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.emitter.flush(self.run)
        return self.log.events


async def test_the_first_event_is_written_at_once_and_the_rest_together() -> None:
    setting = Setting()
    setting.add(output(0))
    for n in range(1, 100):
        await asyncio.sleep(0)
        setting.add(output(n))
    assert setting.log.events == [output(0)]
    assert await setting.end() == [output(n) for n in range(100)]
    assert setting.log.calls == 2


async def test_of_progress_that_waits_only_the_last_is_written() -> None:
    setting = Setting()
    setting.log.open.clear()
    setting.add(progress(0))
    await asyncio.sleep(0.01)
    setting.add(*[progress(n) for n in range(1, 50)])
    setting.add(output(1), progress(50), progress(51))
    assert await setting.end() == [progress(0), progress(49), output(1), progress(51)]


async def test_what_may_have_arrived_stays_what_it_is_when_it_is_sent_again() -> None:
    setting = Setting()
    setting.log.lose_answers = 1
    setting.add(output(0), progress(1))
    await asyncio.gather(*setting.tasks, return_exceptions=True)
    assert setting.log.events == [output(0), progress(1)]
    setting.add(progress(2), output(3))
    assert await setting.end() == [output(0), progress(1), progress(2), output(3)]


async def test_lines_are_left_out_when_the_store_does_not_take_them_and_outputs_never() -> None:
    setting = Setting()
    setting.log.open.clear()
    setting.add(output(0))
    await asyncio.sleep(0.01)
    for n in range(30_000):
        setting.add(log(n))
    setting.add(*[output(n) for n in range(1, 1000)], log(1))
    assert len(setting.run.events) < 21_500
    events = await setting.end()
    assert [event for event in events if event[0] == "output"] == [output(n) for n in range(1000)]
    notices = [json.loads(data) for kind, data in events if kind == "log" and b"left out" in data]
    assert notices == [{"level": "warning", "message": "10,001 lines left out: the store did not take them in time"}]
    assert len([event for event in events if event[0] == "log"]) == 20_000 + len(notices)


async def test_long_lines_are_left_out_by_their_size() -> None:
    setting = Setting()
    setting.log.open.clear()
    setting.add(output(0))
    await asyncio.sleep(0.01)
    for _ in range(2000):
        setting.add(("log", b'{"message":"%s"}' % (b"x" * 8000)))
    assert sum(len(data) for _, data in setting.run.events) < 5 << 20
    assert b"lines left out" in (await setting.end())[-1][1]


@pytest.mark.parametrize("size", [10, 300_000])
async def test_many_and_large_outputs_are_written_in_several_goes(size: int) -> None:
    setting = Setting()
    wanted = [("output", b"%d" % n + b"x" * size) for n in range(1200 if size == 10 else 12)]
    setting.add(*wanted)
    assert await setting.end() == wanted
    assert setting.log.calls == 3
