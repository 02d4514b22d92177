"""A worker in this process, over a real store, whose runners are scripts: the tests say what jobs do, and no process is started."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import orjson

from longrun.blobs.open import open_blobs
from longrun.jobs.failure import JobFailure
from longrun.models import ModelSpec, isolated_registry, model
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store
from longrun.worker.engine import Engine
from longrun.worker.plan import WorkerPlan
from longrun.worker.supervise import seat as seats
from longrun.worker.supervise.exits import Exit

with isolated_registry():

    @model
    def one(x: int = 0) -> int:
        """One job at once."""
        return x

    @model
    async def many(x: int = 0) -> int:
        """Many jobs at once."""
        return x


ONE: ModelSpec = one.__longrun__  # type: ignore[attr-defined]
MANY: ModelSpec = many.__longrun__  # type: ignore[attr-defined]


class LetGo(Exception):
    """The job is unwound."""


class Job:
    """One job in a scripted runner; `data` is its input."""

    def __init__(self, process: ScriptedProcess, model: str, item: Any) -> None:
        self.process, self.model = process, model
        self.id, self.fence, data, _, self.once, self.flow = item
        self.data = orjson.loads(data)
        self.seen, self.number, self.parked = -1, 0, False
        self.results: dict[str, tuple[str, bytes]] = {}
        self.news = asyncio.Event()
        self.stopped: BaseException | None = None

    async def run(self, *keys: str, model: str = "one", **data: Any) -> list[Any]:
        """Run children by these names and wait for all of them."""
        return await self.all_of(*[[f"n:{key}", "c~p~d", "run", model, orjson.dumps(data), [], {}] for key in keys])

    async def sleep(self, seconds: float) -> None:
        """Sleep as `job.sleep` does."""
        await self.all_of(["z:1", "c~p~d", "sleep", seconds])

    async def all_of(self, *items: list[Any]) -> list[Any]:
        """Ask for steps, and wait until all have ended."""
        calls = [item for item in items if item[0] not in self.results]
        while True:
            left = sum(self.results.get(item[0], ("pending",))[0] == "pending" for item in items)
            if not left:
                return [orjson.loads(self.results[item[0]][1]) for item in items]
            if not self.parked:
                self.number += 1
                self.process.say("ask", self.id, self.fence, self.number, self.seen, left, 0, calls)
                calls = []
            await self.hear()

    async def hear(self) -> None:
        """Until the worker has said something."""
        await self.news.wait()
        self.news.clear()
        if self.stopped is not None:
            raise self.stopped

    def take(self, n: int, seen: int, waits: bool, now: int, rows: list[Any]) -> None:
        """The worker has answered."""
        self.seen, before, self.parked = seen, self.parked, waits
        self.results |= {row[0]: (row[1], row[2]) for row in rows}
        self.process.changed(self, before)
        self.news.set()

    def stop(self, reason: BaseException) -> None:
        self.stopped = reason
        self.news.set()


class ScriptedProcess:
    """Stands in for a runner's process. Its code is `Scripted.code`, which counts what begins."""

    world: ClassVar[Scripted]

    def __init__(self, on_frame: Any, on_end: Any, guard: Any) -> None:
        self._on_frame, self._on_end = on_frame, on_end
        self.pid, self.jobs, self.inbox = 1_000_000_000, dict[tuple[str, str], Job](), list[Job]()
        self.running, self.tasks = Counter[str](), set[asyncio.Task[None]]()
        self.alive = True

    async def start(self, settings: Any, env: Any) -> None:
        self.concurrency = settings.models
        self.world.processes.append(self)
        for name in settings.models:
            asyncio.get_running_loop().call_soon(self.say, "ready", name, 0.0, 0.0)

    def say(self, *frame: Any) -> None:
        """To the worker."""
        if self.alive:
            self._on_frame(self, [*frame])

    async def has_room(self) -> None:
        """It reads at once."""

    def send(self, name: str, *members: Any) -> None:
        """From the worker."""
        if not self.alive:
            return
        match name, members:
            case "run", [model, items]:
                self.inbox += [Job(self, model, item) for item in items]
                self._begin()
            case "answer", [job_id, fence, *rest]:
                self.jobs[job_id, fence].take(*rest)
            case "let_go", [keys]:
                for key in keys:
                    if self.jobs[tuple(key)].parked:
                        self.jobs[tuple(key)].stop(LetGo())
            case "cancel", [keys, _, _]:
                for key in keys:
                    self.jobs[tuple(key)].stop(asyncio.CancelledError())
            case "ping", [number]:
                self.say("pong", number, None)

    def _begin(self) -> None:
        while job := next((job for job in self.inbox if self.running[job.model] < self.concurrency[job.model]), None):
            self.inbox.remove(job)
            self.jobs[job.id, job.fence] = job
            task = asyncio.get_running_loop().create_task(self._run(job))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            self.changed(job, True)

    def changed(self, job: Job, parked: bool) -> None:
        """It runs, or waits; `parked`: it did before."""
        self.running[job.model] += parked - job.parked
        self.world.most = max(self.world.most, self.running[job.model])
        assert job.stopped or self.running[job.model] <= self.concurrency[job.model], "more run at once than may"
        self._begin()

    async def _run(self, job: Job) -> None:
        began = time.monotonic()
        try:
            kind, data, extra = "ok", orjson.dumps(await self.world.code(job)), None
        except LetGo:
            kind, data = "waited", b""
        except asyncio.CancelledError:
            kind, data, extra = "canceled", b"", "flag"
        except Exception as error:
            kind, data, extra = "error", JobFailure("model-error", str(error), 1).to_json(), [False, None, None]
        if self.alive:
            del self.jobs[job.id, job.fence]
            before, job.parked = job.parked, True
            self.running[job.model] -= not before
            self.say(
                "done", [[job.id, job.fence, kind, data, (time.monotonic() - began, began, 0.001), None if kind == "waited" else extra]]
            )
            self._begin()

    def die(self, exit_code: int = -11) -> None:
        """The process ends."""
        if self.alive:
            self.alive = False
            for task in self.tasks:
                task.cancel()
            self._on_end(self, Exit(exit_code, ours=exit_code == -9, at=time.monotonic()))

    def kill(self) -> None:
        asyncio.get_running_loop().call_soon(self.die, -9)

    def code_time(self, *_: Any) -> None: ...
    def sample(self) -> None: ...
    def check_end(self) -> None: ...
    def drain_output(self) -> None: ...

    def wait(self, timeout: float) -> bool:
        self.alive = False
        return True


class Nobody:
    """Is not interested in what becomes of a ticket."""

    def accepted(self, pid: int, at: float) -> None: ...
    def finished(self, status: str, run_s: float | None) -> None: ...
    def stale(self) -> None: ...


class Scripted:
    """Workers, one after the other, and what their jobs do: `code` is called with each job that begins."""

    def __init__(self, settings: Settings, code: Callable[[Job], Awaitable[Any]]) -> None:
        self.settings, self._code = settings, code
        self.processes, self.begun, self.most = list[ScriptedProcess](), Counter[str](), 0
        self._workers = 0

    async def code(self, job: Job) -> Any:
        """Run the code of a job."""
        self.begun[job.id] += 1
        return await self._code(job)

    @contextmanager
    def worker(self, *specs: ModelSpec, **settings: Any) -> Iterator[Engine]:
        """A worker; at the end of the block it is stopped, with its grace."""
        self._workers += 1
        chosen = self.settings.model_copy(update=settings)
        blobs = open_blobs(chosen)

        def store() -> Store:
            return Store(chosen.redis_url, chosen, ticket_template())

        models = {spec.name: spec for spec in (ONE, MANY)}
        plan = WorkerPlan(f"worker{self._workers}", f"w{self._workers}", "app.py", specs, chosen, store, blobs, models=models)
        engine = Engine(plan, lambda: None)
        engine.hand_in = lambda found: engine.take([(each.lane, each.id, Nobody()) for each in found])
        engine.start()
        try:
            yield engine
        finally:
            engine.stop(chosen.grace)
            engine.loop.close()
            blobs.close()


async def serve(engine: Engine, store: Store) -> None:
    """Hand the engine the tickets that it has room for, and do the chores, for ever; as the hub and the chores do."""
    while True:
        slots = [each for pair in engine.free_slots() if pair[1] for each in pair]
        if slots:
            flat = await store.connection.run("pop", *slots)
            engine.take([(flat[at].decode(), flat[at + 2].decode(), Nobody()) for at in range(0, len(flat), 3)])
        engine.pump()
        await store.upkeep.release_due()
        await store.steps.reap()
        await asyncio.sleep(0.005)


@contextmanager
def scripted_seats(world: Scripted, monkeypatch: Any) -> Iterator[None]:
    """Seats start scripts."""
    with monkeypatch.context() as patch:
        patch.setattr(ScriptedProcess, "world", world, raising=False)
        patch.setattr(seats, "RunnerProcess", ScriptedProcess)
        yield
