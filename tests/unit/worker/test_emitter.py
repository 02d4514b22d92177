"""Events wait for a store that is slow or away: in order, once each, and in bounded memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import pytest

from longrun.errors import StorageFull, StoreUnavailable
from longrun.jobs.policy import Policy
from longrun.store.claims import Claim, Claims
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

    async def append(self, job_id: str, fence: str, first: int, progress: bytes, events: Events) -> bool:
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
        self.run = Run(Claim("job_1", "1/n", b"{}", Policy(), "", 0, 0, 0), "default.echo", cast(Any, None))
        self.tasks: list[asyncio.Future[Any]] = []
        self.write_to(Log())

    def write_to(self, log: Log) -> None:
        self.log = log
        self.emitter = Emitter(cast(Claims, log), lambda work: self.tasks.append(asyncio.ensure_future(work)), lambda _: None)

    def add(self, *events: tuple[str, bytes]) -> None:
        self.emitter.add(self.run, events)

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
    assert len(setting.run.backlog.events) < 21_500
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
    assert sum(len(data) for _, data in setting.run.backlog.events) < 5 << 20
    assert b"lines left out" in (await setting.end())[-1][1]


@pytest.mark.parametrize("size", [10, 300_000])
async def test_many_and_large_outputs_are_written_in_several_goes(size: int) -> None:
    setting = Setting()
    wanted = [("output", b"%d" % n + b"x" * size) for n in range(1200 if size == 10 else 12)]
    setting.add(*wanted)
    assert await setting.end() == wanted
    assert setting.log.calls == 3


def file(n: int) -> tuple[str, bytes]:
    return "file", b'{"id":"file_%d"}' % n


async def test_files_are_never_left_out_or_put_together_and_keep_their_place() -> None:
    setting = Setting()
    setting.log.open.clear()
    setting.add(output(0))
    await asyncio.sleep(0.01)
    for n in range(30_000):
        setting.add(log(n))
    wanted = [file(1), file(1), output(1), file(2), progress(1), progress(2), file(3), output(2)]
    setting.add(*wanted)
    assert [event for event in await setting.end() if event[0] != "log"] == [output(0), *[each for each in wanted if each != progress(1)]]


class FullLog(Log):
    """A store that refuses the first write when it comes to it, and takes later ones: it lets small ones pass when it is full."""

    refuse = 1

    async def append(self, job_id: str, fence: str, first: int, progress: bytes, events: Events) -> bool:
        self.calls += 1
        refused, self.refuse = self.refuse, 0
        await self.open.wait()
        if refused:
            raise StorageFull("no room")
        assert first == len(self.events), "what is numbered higher came first: the store would take these for known"
        self.events += events
        return True


async def test_an_outcome_waits_for_what_tells_of_files_also_when_that_is_refused_after_all() -> None:
    setting = Setting()
    setting.write_to(FullLog())
    setting.log.open.clear()
    setting.add(file(1), output(1))
    await asyncio.sleep(0.01)
    setting.run.settled = True
    setting.add(output(2))
    flushed = asyncio.ensure_future(setting.emitter.flush(setting.run))
    await asyncio.sleep(0.01)
    assert not flushed.done()
    setting.log.open.set()
    await flushed
    assert setting.log.events == [file(1), output(1), output(2)]
    assert setting.run.backlog.files == 0


async def test_an_outcome_does_not_wait_for_a_write_that_tells_of_no_file() -> None:
    setting = Setting()
    setting.log.open.clear()
    setting.add(output(1))
    await asyncio.sleep(0.01)
    setting.run.settled = True
    await asyncio.wait_for(setting.emitter.flush(setting.run), 0.1)
    setting.log.open.set()
