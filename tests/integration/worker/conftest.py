"""A real worker process on the test's own keys."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from tests.conftest import settings_for
from tests.waiting import PATIENCE

from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.jobs.record import JobRecord
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.records import NewJob
from longrun.store.store import Store

MODELS = Path(__file__).with_name("models_under_test.py")


class Worker:
    """A worker process and its runners.

    Args:
        app: the file with the models.
        models: the classes and functions that it serves, such as `Sleeper,shout`; empty = all. Each class costs a runner process.
        folder: where it works.
        environment: further variables.
    """

    def __init__(
        self,
        settings: Settings,
        log: Path,
        *arguments: str,
        app: Path = MODELS,
        models: str = "",
        folder: Path | None = None,
        **environment: str,
    ) -> None:
        env = os.environ | {
            "LONGRUN_REDIS_URL": settings.redis_url,
            "LONGRUN_PREFIX": settings.prefix,
            "LONGRUN_LEASE": f"{settings.lease:g}",
            "LONGRUN_HEARTBEAT": f"{settings.heartbeat:g}",
            "LONGRUN_GRACE": f"{settings.grace:g}",
            "LONGRUN_STORE_TIMEOUT": f"{settings.store_timeout:g}",
            **environment,
        }
        self.log = log
        with log.open("ab") as output:
            command = [sys.executable, "-m", "longrun", "worker", f"{app}:{models}" if models else str(app), *arguments]
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True)

    @property
    def runners(self) -> list[psutil.Process]:
        return [child for child in psutil.Process(self.process.pid).children() if "longrun.worker.runner" in child.cmdline()]

    def kill(self, sign: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(sign)

    def stop(self, timeout: float = PATIENCE) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the worker did not stop; it said:\n{self.log.read_text()}") from None


@pytest.fixture
def start_worker(settings: Settings, tmp_path: Path) -> Iterator[Any]:
    """Start workers; all of them are gone after the test."""
    workers: list[Worker] = []

    def start(*arguments: str, **options: Any) -> Worker:
        workers.append(Worker(settings, tmp_path / "worker.log", *arguments, **options))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGCONT)
            worker.process.kill()
            worker.process.wait()


@pytest.fixture(scope="module")
def module_settings(valkey_url: str) -> Settings:
    """Settings of a worker that the tests of a module share."""
    return settings_for(valkey_url, f"m{uuid.uuid4().hex[:8]}:")


@pytest.fixture(scope="module")
def shared_worker(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Worker]:
    """One worker for the tests of a module that do it no harm. Its models are those that the module names as `SHARED`, or all.

    The module may name their file too, as `APP`.
    """
    models, app = getattr(request.module, "SHARED", ""), getattr(request.module, "APP", MODELS)
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    worker = Worker(module_settings, log, "--events", models=models, app=app, LONGRUN_MAX_OUTPUT="2000")
    yield worker
    worker.stop()


@pytest.fixture
async def shared(shared_worker: Worker, module_settings: Settings) -> AsyncIterator[Caller]:
    """A caller of the shared worker."""
    store = Store(module_settings.redis_url, module_settings, ticket_template())
    yield Caller(store)
    await store.close()


class Caller:
    """Submits jobs and waits for their end."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def submit(self, model: str, queue: str = "default", *, policy: Policy | None = None, priority: int = 5, **data: Any) -> str:
        job = NewJob(new_job_id(), "t", model, queue, priority, orjson.dumps(data), (policy or Policy()).to_json())
        assert (await self.store.records.submit(job)).outcome == "new"
        return job.id

    async def read(self, job_id: str) -> JobRecord:
        return await self.store.records.read(job_id, "t")

    async def until(self, job_id: str, *statuses: str, timeout: float = PATIENCE) -> JobRecord:
        end = time.monotonic() + timeout
        while True:
            job = await self.read(job_id)
            if job.status.value in statuses or (not statuses and job.terminal):
                return job
            assert time.monotonic() < end, f"{job_id} is still {job.status} after {timeout} s"
            await asyncio.sleep(0.01)

    async def end(self, job_id: str, timeout: float = PATIENCE) -> JobRecord:
        return await self.until(job_id, timeout=timeout)

    async def run(self, model: str, queue: str = "default", *, policy: Policy | None = None, **data: Any) -> JobRecord:
        return await self.end(await self.submit(model, queue, policy=policy, **data))

    async def ready(self, model: str = "noop", timeout: float = PATIENCE) -> None:
        """Until some worker has announced that it holds the model."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            workers, *_ = await self.store.records.overview()
            if any(orjson.loads(worker)["models"].get(model, {}).get("state") == "ready" for worker in workers):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"no worker holds {model}")


@pytest.fixture
def caller(store: Store) -> Caller:
    """Submits jobs and waits for their end."""
    return Caller(store)
