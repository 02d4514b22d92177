"""A worker's tables with runners that do nothing but keep what is sent to them, and recorders of what the worker's parts do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from pydantic import BaseModel

from longrun.jobs.policy import Policy
from longrun.models import ModelSpec, batched, isolated_registry, model
from longrun.store.claims import Claim, Claims
from longrun.worker.dispatch.lane import Lane
from longrun.worker.emitter import Emitter
from longrun.worker.run import Run, Sink
from longrun.worker.runner.settings import RunnerSettings
from longrun.worker.supervise.devices import Place
from longrun.worker.supervise.process import RunnerProcess
from longrun.worker.supervise.seat import Group, Seat
from longrun.worker.supervise.terms import Terms
from longrun.worker.tables import Tables

with isolated_registry():

    @model
    def echo(text: str = "") -> str:
        """One job after another."""
        return text

    class Ask(BaseModel):
        """One item of a batch."""

        text: str = ""

    @model
    @batched(max_size=4, max_wait_ms=0)
    def together(asks: list[Ask]) -> list[str]:
        """Jobs in batches."""
        return [ask.text for ask in asks]


ECHO: ModelSpec = echo.__longrun__  # type: ignore[attr-defined]
TOGETHER: ModelSpec = together.__longrun__  # type: ignore[attr-defined]


class PlayedProcess:
    """Keeps the frames that a runner gets."""

    def __init__(self, pid: int) -> None:
        self.pid, self.sent, self.killed = pid, list[tuple[Any, ...]](), False
        self.in_code: dict[str, tuple[float, float]] = {}  #: job id → when its code was entered, and seconds in it

    def send(self, *members: Any) -> None:
        self.sent.append(members)

    def kill(self) -> None:
        self.killed = True

    def sample(self) -> None: ...

    def code_time(self, job_id: str, fence: str, now: float) -> tuple[float, float] | None:
        return self.in_code.get(job_id)


def nothing(*_: Any) -> None: ...


def tables_of(spec: ModelSpec = ECHO, *, concurrency: int = 1, seats: int = 1, terms: Terms | None = None) -> Tables:
    """One lane, and so many runners that have loaded its model."""
    group = Group(RunnerSettings(models={spec.name: concurrency}), terms or Terms(), [spec.lane])
    tables = Tables([group], {spec.lane: Lane(spec, group, nothing)})
    for number in range(seats):
        seat = Seat(group, Place("cpu"), nothing, nothing)
        seat.process = cast(RunnerProcess, PlayedProcess(1000 + number))
        seat.has_loaded(spec.name, 0.5, 0.0)
        group.seats.append(seat)
    tables.lanes[spec.lane].count_capacity()
    return tables


def waiting(tables: Tables, *job_ids: str, suspect: str = "", **policy: Any) -> list[Run]:
    """Claimed jobs that wait for a runner."""
    (lane,) = tables.lanes.values()
    now = int(time.time() * 1000)
    runs = [
        Run(Claim(each, "1/n", b"{}", Policy(**policy), suspect, 0, now, now), lane.name, PlayedSink(), group=suspect) for each in job_ids
    ]
    for run in runs:
        tables.runs[run.id] = run
        lane.held += 1
        lane.add(run)
    return runs


def started(tables: Tables, *job_ids: str, **policy: Any) -> list[Run]:
    """Jobs that run, as many of them as the runners have room for."""
    runs = waiting(tables, *job_ids, **policy)
    (lane,) = tables.lanes.values()
    lane.dispatch()
    return runs


def frames(seat: Seat, kind: str) -> list[tuple[Any, ...]]:
    """What was sent to the runner of this kind."""
    return [frame[1:] for frame in cast(PlayedProcess, seat.process).sent if frame[0] == kind]


class PlayedSink(Sink):
    """Is not interested."""


class Recorder:
    """Takes every effect that the worker's parts have, and notes its name and arguments; coroutines are run by `settled`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.work: list[Coroutine[Any, Any, None]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **named: self.calls.append((name, *args, *named.values()))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.work.append(work)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """Arguments of the calls of this name."""
        return [args for each, *args in self.calls if each == name]  # type: ignore[misc]

    async def settled(self) -> None:
        """Run what was spawned, also what that spawns."""
        await asyncio.sleep(0)
        while self.work:
            await self.work.pop(0)


class PlayedClaims:
    """The verbs of the store, noted; `answers` are the job's status, or what is raised."""

    def __init__(self, *answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers = list(answers)

    def _answer(self, *call: Any) -> Any:
        self.calls.append(call)
        answer = self.answers.pop(0) if self.answers else call[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def finish(self, job_id: str, fence: str, outcome: str, data: bytes, usage: bytes = b"", *, partial: bool = False) -> Any:
        return self._answer(outcome, job_id, data)

    async def finish_all(self, endings: Sequence[Any]) -> list[Any]:
        self.calls += [(each.outcome, each.id, each.data) for each in endings]
        return [self.answers.pop(0) if self.answers else each.outcome for each in endings]

    async def append(self, job_id: str, fence: str, first: int, progress: bytes, events: Sequence[tuple[str, bytes]]) -> bool:
        self.calls.append(("append", job_id, list(events)))
        return True

    async def retry_later(self, job_id: str, fence: str, delay: float, failure: bytes, usage: bytes) -> Any:
        return self._answer("retrying", job_id, failure)

    async def hand_back(self, job_id: str, fence: str, mode: str, failure: bytes, group: str, *, usage: bytes) -> Any:
        return self._answer("queued", job_id, mode, group)

    async def heartbeat(self, held: Sequence[tuple[str, str]], timeout: float) -> Any:
        return self._answer("heartbeat", list(held))

    async def requeue(self, job_ids: Sequence[str]) -> None:
        self.calls.append(("requeue", list(job_ids)))


def emitter_of(claims: PlayedClaims, effects: Recorder) -> Emitter:
    """A real one."""
    return Emitter(cast(Claims, claims), effects.spawn, effects.lost)
