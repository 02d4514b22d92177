"""A service for each file of tests: a real Valkey, real workers with real runners, and the API in this process.

A file names its models as `APP`; `WORKERS` are the arguments of the workers that its tests share (one worker, by default).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.conftest import settings_for
from tests.integration.api.conftest import API, calling
from tests.integration.worker.conftest import Worker
from tests.waiting import PATIENCE

from longrun.api.app import build_app
from longrun.blobs.open import open_blobs
from longrun.models import Registry, load_target
from longrun.queues.celery.tickets import ticket_template
from longrun.service.parts import Parts
from longrun.settings import Settings
from longrun.store.store import Store

#: Queues of `models_for_steps` that are served; `nobody` is not.
QUEUES = ("--queues", "default,work,flow,other")
#: For tests that are the same for async and for plain code: the suffix of the model's name.
BOTH = pytest.mark.parametrize("kind", ["", "_sync"], ids=["async", "plain"])


class Service:
    """Workers on keys of their own; `worker` is the last one that was started.

    Args:
        app: the file with the models. It may be written anew before a worker is started.
    """

    def __init__(self, settings: Settings, folder: Path, app: Path) -> None:
        self.settings, self.folder, self.app = settings, folder, app
        self.workers: list[Worker] = []

    def start(self, *arguments: str, **environment: str) -> Worker:
        """One more worker."""
        queues = () if "--queues" in arguments else QUEUES
        log = self.folder / f"worker-{len(self.workers)}.log"
        given = {"LONGRUN_BLOBS": self.settings.blobs, "LONGRUN_MAX_OUTPUT": "2000", **environment}
        self.workers.append(Worker(self.settings, log, *queues, *arguments, app=self.app, **given))
        return self.workers[-1]

    @property
    def worker(self) -> Worker:
        return self.workers[-1]

    def kill_worker(self) -> None:
        """As a host does that goes away: the worker and its runners."""
        runners = self.worker.runners
        self.worker.kill()
        for runner in runners:
            runner.kill()
        self.worker.process.wait()

    def restart(self, *arguments: str, **environment: str) -> Worker:
        """A deploy: the worker stops, another one starts."""
        assert self.worker.stop() == 0
        return self.start(*arguments, **environment)

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                for runner in worker.runners:
                    runner.kill()
                worker.process.kill()
                worker.process.wait()


def new_service(url: str, folder: Path, app: Path, *, lease: float = 30, **settings: Any) -> Service:
    """Of keys of its own; no worker runs yet."""
    mine = settings_for(url, f"m{uuid.uuid4().hex[:8]}:", lease).model_copy(update={"blobs": (folder / "blobs").as_uri(), **settings})
    return Service(mine, folder, app)


@pytest.fixture(scope="module")
def service(valkey_url: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Service]:
    """The service that the tests of a file share."""
    service = new_service(valkey_url, tmp_path_factory.mktemp("service"), request.module.APP)
    for arguments in getattr(request.module, "WORKERS", [()]):
        service.start(*arguments)
    yield service
    service.close()


@pytest.fixture
def own(valkey_url: str, tmp_path: Path, request: pytest.FixtureRequest, lease: float) -> Iterator[Service]:
    """A service of the test's own, whose workers it starts, stops and kills (then with a short `lease`)."""
    (tmp_path / "own").mkdir()
    service = new_service(valkey_url, tmp_path / "own", request.module.APP, lease=lease)
    yield service
    service.close()


@dataclass
class Steps:
    """Submits flows over HTTP, and reads what became of them."""

    http: httpx.AsyncClient
    store: Store
    to: Path

    # -- over HTTP ---------------------------------------------------------------------------------------------------------

    async def submit(self, model: str, n: int = 0, *, input: dict[str, Any] | None = None, **members: Any) -> str:
        """Id of a new job. The input is the test's folder and `n`, unless another one is given."""
        given = {"to": str(self.to), "n": n} if input is None else input
        answer = await self.http.post(f"{API}/models/{model}/jobs", json={"input": given, **members})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def job(self, job_id: str) -> dict[str, Any]:
        return dict((await self.http.get(f"{API}/jobs/{job_id}")).json())

    async def until(self, job_id: str, *statuses: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """The job as soon as it has one of these statuses; without any, as soon as it has ended."""
        end = time.monotonic() + timeout
        while True:
            job = await self.job(job_id)
            if job["status"] in statuses or (not statuses and job["terminal"]):
                return job
            assert time.monotonic() < end, job
            await asyncio.sleep(0.01)

    async def run(self, model: str, n: int = 0, **members: Any) -> dict[str, Any]:
        """The job when it has ended."""
        return await self.until(await self.submit(model, n, **members))

    async def asleep(self, job_id: str) -> None:
        """Until nobody holds it while it waits; callers see no difference."""
        end = time.monotonic() + PATIENCE
        while (status := await self.field(job_id, "status")) != "asleep":
            assert time.monotonic() < end, status
            await asyncio.sleep(0.01)
        assert (await self.job(job_id))["status"] == "waiting"

    async def output(self, job_id: str) -> Any:
        """Of a job that succeeds."""
        job = await self.until(job_id)
        assert job["status"] == "succeeded", job["error"]
        return job["output"]

    async def post(self, job_id: str, what: str, body: Any = None) -> httpx.Response:
        """`cancel`, `retry`, `signals/NAME`."""
        return await self.http.post(f"{API}/jobs/{job_id}/{what}", json=body)

    async def tree(self, job_id: str) -> list[dict[str, Any]]:
        """All steps of a job."""
        steps: list[dict[str, Any]] = []
        where = f"{API}/jobs/{job_id}/tree"
        while where:
            body = (await self.http.get(where)).json()
            steps += body["steps"]
            where = body["next"]
        return steps

    async def step(self, job_id: str, key: str) -> dict[str, Any]:
        """The step whose key begins so, as soon as it is there."""
        end = time.monotonic() + PATIENCE
        while not (found := [step for step in await self.tree(job_id) if step["key"].startswith(key)]):
            assert time.monotonic() < end, await self.tree(job_id)
            await asyncio.sleep(0.01)
        return found[0]

    async def events(self, job_id: str, *types: str) -> list[dict[str, Any]]:
        """Events of a job that are there now."""
        answer = await self.http.get(f"{API}/jobs/{job_id}/events", headers={"Accept": "application/json"})
        assert answer.status_code == 200, answer.text
        return [event for event in answer.json()["events"] if not types or event["type"] in types]

    async def warnings(self, job_id: str) -> list[str]:
        """What the job's log warns of."""
        logged = [event["data"] for event in await self.events(job_id, "log")]
        return [event["message"] for event in logged if event["level"] == "warning"]

    async def outcomes(self, job_id: str) -> list[str]:
        """Of its attempts."""
        return [attempt.outcome for attempt in await self.store.records.attempts(job_id, "default")]

    # -- in the store and in the test's folder -------------------------------------------------------------------------------

    async def field(self, job_id: str, name: str) -> str | None:
        """A field of the job's record."""
        value = await self.store.connection.command("HGET", f"{self.store.prefix}job:{job_id}", name)
        return None if value is None else value.decode()

    async def journal(self, job_id: str) -> dict[str, str]:
        """The entries of its steps."""
        flat = await self.store.connection.command("HGETALL", f"{self.store.prefix}steps:{job_id}")
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        return {key.decode(): value.decode() for key, value in pairs}

    def lines(self) -> list[tuple[str, int]]:
        """What was called so far, and in which process."""
        path = self.to / "calls"
        return [(name, int(pid)) for name, pid in (line.split() for line in path.read_text().splitlines())] if path.exists() else []

    @property
    def calls(self) -> Counter[str]:
        return Counter(name for name, _ in self.lines())

    async def called(self, what: str, times: int = 1) -> int:
        """The process in which it was called, as soon as it was so often."""
        end = time.monotonic() + PATIENCE
        while True:
            found = [pid for name, pid in self.lines() if name == what]
            if len(found) >= times:
                return found[times - 1]
            assert time.monotonic() < end, self.lines()
            await asyncio.sleep(0.01)

    async def kill(self, what: str, times: int = 1) -> None:
        """Kill the runner in which this was called."""
        os.kill(await self.called(what, times), signal.SIGKILL)

    def open(self, name: str) -> None:
        """Let go on what waits for the gate of this name."""
        (self.to / f"gate-{name}").touch()


@asynccontextmanager
async def caller_of(service: Service, to: Path) -> AsyncIterator[Steps]:
    """A caller of a service; jobs that wait for gates in its folder go on when it is closed."""
    settings = service.settings
    registry = Registry()
    load_target(str(service.app), registry)

    def parts() -> Parts:
        return Parts(settings, Store(settings.redis_url, settings, ticket_template()), registry, blobs=open_blobs(settings))

    store = Store(settings.redis_url, settings, ticket_template())
    async with calling(build_app(settings, registry, parts)) as http:
        try:
            yield Steps(http, store, to)
        finally:
            (to / "gate-all").touch()
            await store.close()


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """The folder of the test's jobs."""
    (tmp_path / "to").mkdir()
    return tmp_path / "to"


@pytest.fixture
async def steps(service: Service, to: Path) -> AsyncIterator[Steps]:
    """A caller of the service that the file shares."""
    async with caller_of(service, to) as caller:
        yield caller


@pytest.fixture
async def mine(own: Service, to: Path) -> AsyncIterator[Steps]:
    """A caller of the test's own service. Its app is loaded now, as it is."""
    async with caller_of(own, to) as caller:
        yield caller
