"""A worker's tables with runners that do nothing but keep what is sent to them, and recorders of what the worker's parts do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from pydantic import BaseModel

from longrun.jobs.file_refs import FileRef
from longrun.jobs.flow import Flow
from longrun.jobs.policy import Policy
from longrun.models import ModelSpec, Retry, batched, isolated_registry, model
from longrun.settings import Settings
from longrun.store.claims import Claim, Claims
from longrun.store.steps import Answer, Steps
from longrun.store.steps import Terms as TreeTerms
from longrun.worker.dispatch.lane import Lane
from longrun.worker.emitter import Emitter
from longrun.worker.limits import Limits
from longrun.worker.parking import Parking
from longrun.worker.run import Run, Sink
from longrun.worker.runner.settings import RunnerSettings
from longrun.worker.settle import Settler
from longrun.worker.step_calls import StepCalls
from longrun.worker.steps import StepRequests
from longrun.worker.stopping import StopReason
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

    @model
    async def chat(text: str = "") -> str:
        """Many jobs at once."""
        return text

    class Ask(BaseModel):
        """One item of a batch."""

        text: str = ""

    @model
    @batched(max_size=4, max_wait_ms=0)
    def together(asks: list[Ask]) -> list[str]:
        """Jobs in batches."""
        return [ask.text for ask in asks]

    @model(queue="gpu", total_timeout=100, retry=Retry(attempts=3))
    def draw(prompt: str) -> str:
        """Runs in another worker."""
        return prompt


ECHO: ModelSpec = echo.__longrun__  # type: ignore[attr-defined]
CHAT: ModelSpec = chat.__longrun__  # type: ignore[attr-defined]
TOGETHER: ModelSpec = together.__longrun__  # type: ignore[attr-defined]
DRAW: ModelSpec = draw.__longrun__  # type: ignore[attr-defined]


class PlayedProcess:
    """Keeps the frames that a runner gets."""

    def __init__(self, pid: int) -> None:
        self.pid, self.sent, self.killed = pid, list[tuple[Any, ...]](), False
        self.in_code: dict[str, tuple[float, float]] = {}  #: job id → when its code was entered, and seconds in it

    async def has_room(self) -> None:
        """It reads at once."""

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


def waiting(tables: Tables, *job_ids: str, suspect: str = "", flow: Flow | None = None, **policy: Any) -> list[Run]:
    """Claimed jobs that wait for a runner."""
    (lane,) = tables.lanes.values()
    now = int(time.time() * 1000)
    claims = [Claim(each, "1/n", b"{}", Policy(**policy), suspect, 0, now, now, flow=flow) for each in job_ids]  # type: ignore[arg-type]
    runs = [Run(claim, lane.name, PlayedSink(), group=suspect) for claim in claims]
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


class PlayedSteps:
    """The store's verbs about steps, noted; `answers` are what they return or raise, in that order, else what a store would say first."""

    def __init__(self, *answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers = list(answers)

    def _answer(self, default: Any, *call: Any) -> Any:
        self.calls.append(call)
        answer = self.answers.pop(0) if self.answers else default
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask(self, parent: str, fence: str, calls: Sequence[Any], *, seen: int, need: int, terms: TreeTerms, until: int = 0) -> Any:
        return self._answer(Answer(max(0, seen), need > 0, 1000), "ask", parent, [*calls], seen, need, until)

    async def resume(self, parent: str, fence: str, seen: int, *, go: bool) -> Any:
        return self._answer(Answer(seen, False, 1000), "resume", parent, seen, go)

    async def let_go(self, runs: Sequence[tuple[str, str, int, bytes]]) -> Any:
        return self._answer(["asleep"] * len(runs), "let_go", *[(parent, ran, usage) for parent, _, ran, usage in runs])

    async def journal(self, parent: str, fence: str, entries: Sequence[tuple[str, bytes]], stop: Sequence[str] = ()) -> Any:
        return self._answer([text for _, text in entries], "journal", parent, [*entries], [*stop])

    async def drop(self, parent: str, fence: str, keys: Sequence[str]) -> None:
        self._answer(None, "drop", parent, [*keys])

    async def forget_signal(self, parent: str, fence: str, name: str) -> None:
        self._answer(None, "forget_signal", parent, name)

    async def history(self, parent: str, fence: str) -> Any:
        return self._answer(({}, []), "history", parent)

    async def files(self, parent: str, fence: str, ids: Sequence[str]) -> Any:
        return self._answer([FileRef(each, f"key-of-{each}", 1, "sha-256=x") for each in ids], "files", parent, [*ids])


class Desk:
    """The parts of a worker that runs with steps go through, over a store and runners that are played."""

    def __init__(self, tables: Tables, *answers: Any, rehearse: bool = False, models: Sequence[ModelSpec] = ()) -> None:
        self.tables, self.effects, self.claims, self.steps = tables, Recorder(), PlayedClaims(), PlayedSteps(*answers)
        self.emitter, spawn = emitter_of(self.claims, self.effects), self.effects.spawn
        store = cast(Steps, self.steps)
        self.settler = Settler(tables, cast(Claims, self.claims), self.emitter, spawn, self.recount, self.effects.post, store)
        self.parking = Parking(tables, self.settler, 1.0, rehearse, self.recount, self._stop, self._resume)
        self.limits = Limits(tables, 1.0, self.settler, self.recount, self.effects.replace, self.parking.rouse)
        calls = StepCalls({each.name: each for each in (ECHO, TOGETHER, *models)}, Settings())
        self.requests = StepRequests(tables, store, self.emitter, self.parking, calls, spawn)

    def _stop(self, run: Run, reason: StopReason) -> None:
        self.limits.request_stop(run, reason)

    def _resume(self, seat: Seat, run: Run) -> None:
        self.requests.resume(seat, run)

    def recount(self, seat: Seat) -> None:
        """As the engine does."""
        for lane in self.tables.lanes_of(seat):
            lane.count_capacity()
            self.parking.resume_next(lane, seat)
            lane.dispatch()

    async def ask(self, run: Run, *items: Any, need: int = 1, seen: int = 0, until: int = 0) -> Seat:
        """The run asks for these steps, and is answered."""
        seat = self.tables.seat_of(run)
        assert seat is not None
        self.requests.take(seat, "ask", run.id, run.fence, [1, seen, need, until, list(items)])
        await self.effects.settled()
        return seat


def item(key: str = "n:a", model: str = "draw", data: Any = b'{"prompt":"x"}', files: Any = (), **options: Any) -> list[Any]:
    """A child to ask for."""
    return [key, "c~p~d", "run", model, data, list(files), options]


def desk_with(*answers: Any, **policy: Any) -> tuple[Desk, Seat, Run]:
    """A job that runs, of a worker that knows `DRAW`."""
    desk = Desk(tables_of(), *answers, models=[DRAW])
    (run,) = started(desk.tables, "job_1", **policy)
    return desk, desk.tables.seats[0], run


async def send(desk: Desk, name: str, *members: Any) -> None:
    """The runner sends this request of the job."""
    desk.requests.take(desk.tables.seats[0], name, "job_1", "1/n", members)
    await desk.effects.settled()


def emitter_of(claims: PlayedClaims, effects: Recorder) -> Emitter:
    """A real one."""
    return Emitter(cast(Claims, claims), effects.spawn, effects.lost)
