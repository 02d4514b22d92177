"""Workers that were given the same name, and workers that the same process id and host name would not tell apart."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from tests.integration.worker.conftest import MODELS, Caller, Worker
from tests.require import require_namespaces
from tests.waiting import PATIENCE

from longrun.cli.supervisor import WRONG_START
from longrun.settings import Settings


async def entries(caller: Caller) -> list[dict[str, Any]]:
    workers, *_ = await caller.store.records.overview()
    return [orjson.loads(worker) for worker in workers]


async def until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, f"not: {what}"
        await asyncio.sleep(0.02)


async def waits(worker: Worker) -> None:
    await until(lambda: "another worker has this name; waiting for its end" in worker.log.read_text(), "the second worker waits")


async def test_names_that_nobody_gave_differ_also_between_workers_of_one_host(caller: Caller, start_worker: Any) -> None:
    worker = start_worker(models="Noop")
    await caller.ready()
    (entry,) = await entries(caller)
    assert re.fullmatch(rf"longrun-{worker.process.pid}-[0-9a-f]{{6}}@{re.escape(entry['host'])}", entry["name"])
    assert entry["identity"].startswith(entry["name"].split("-")[2][:6])


@pytest.mark.parametrize("lease", [2])
async def test_a_name_that_is_taken_is_waited_for_and_then_refused(caller: Caller, start_worker: Any) -> None:
    first = start_worker("--name", "gpu", models="Sleeper")
    await caller.ready("sleeper")
    job_id = await caller.submit("sleeper", seconds=1000)
    await caller.until(job_id, "running")
    second = start_worker("--name", "gpu", models="Sleeper")
    assert await asyncio.to_thread(second.process.wait, PATIENCE) == WRONG_START
    said = second.log.read_text()
    assert "waiting for its end" in said
    assert f"error: --name gpu: a worker of this name runs already (process {first.process.pid} on " in said
    assert [entry["pid"] for entry in await entries(caller)] == [first.process.pid]
    job = await caller.read(job_id)
    assert (job.status, job.attempt) == ("running", 1)


async def test_a_name_is_free_as_soon_as_its_worker_has_stopped(caller: Caller, start_worker: Any) -> None:
    first = start_worker("--name", "gpu", models="Noop")
    await caller.ready()
    second = start_worker("--name", "gpu", models="Noop")
    await waits(second)
    assert await asyncio.to_thread(first.stop) == 0
    # The lease is 30 s, and the wait ended long before.
    await until(lambda: second.process.poll() is None and len(second.runners) == 1, "the second works")
    assert (await caller.run("noop", x=1)).output == b"1"


@pytest.mark.parametrize("lease", [2])
async def test_the_name_of_a_killed_worker_is_free_after_its_lease(caller: Caller, start_worker: Any) -> None:
    first = start_worker("--name", "gpu", models="Noop")
    await caller.ready()
    first.kill()
    first.process.wait()
    second = start_worker("--name", "gpu", models="Noop")
    await until(lambda: second.log.read_text().count("model ready") == 2, "the second works")
    assert [entry["pid"] for entry in await entries(caller)] == [second.process.pid]
    assert (await caller.run("noop", x=1)).output == b"1"


@pytest.mark.parametrize("lease", [2])
async def test_a_worker_that_finds_its_name_taken_over_stops_and_harms_nobody(caller: Caller, start_worker: Any) -> None:
    first = start_worker("--name", "gpu", models="Sleeper")
    await caller.ready("sleeper")
    first.kill(signal.SIGSTOP)
    second = start_worker("--name", "gpu", models="Sleeper")
    # It waits for the end of the name's lease, unless this machine took longer than that to start it.
    await until(lambda: second.log.read_text().count("model ready") == 2, "the second works")
    job_id = await caller.submit("sleeper", seconds=4)
    job = await caller.until(job_id, "running")
    first.kill(signal.SIGCONT)
    assert await asyncio.to_thread(first.process.wait, PATIENCE) == WRONG_START
    assert "another worker has got the name of this one, which stops" in first.log.read_text()
    assert [entry["pid"] for entry in await entries(caller)] == [second.process.pid]
    job = await caller.end(job_id)
    assert (job.status, job.attempt) == ("succeeded", 1)
    assert second.process.poll() is None


class Service:
    """What `longrun serve` does for its worker, in PID namespaces of its own: there the worker has the same number each time."""

    CODE = """
        import os, sys
        from longrun.cli.apis import command
        from longrun.cli.report import Reporter
        from longrun.cli.supervisor import Child, Supervisor
        from longrun.settings import load_settings

        say = lambda text: print(text, flush=True)
        worker = Child("worker", command("worker", sys.argv[1]), dict(os.environ), identified=True)
        reporter = Reporter(load_settings(), os.environ["LONGRUN_REDIS_URL"], say)
        Supervisor([worker], None, lambda: "ready", patience=4, say=say, on_death=reporter.report).run()
    """

    def __init__(self, namespace: list[str], log: Path, settings: Settings) -> None:
        self.log = log
        env = os.environ | {"LONGRUN_REDIS_URL": settings.redis_url, "LONGRUN_PREFIX": settings.prefix, "LONGRUN_LEASE": "600"}
        command = [*namespace, sys.executable, "-c", textwrap.dedent(self.CODE), f"{MODELS}:Sleeper"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, env=env, stdout=output, stderr=output)

    def worker(self) -> psutil.Process:
        """As this namespace sees it."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(child for child in children if "worker" in child.cmdline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def services(tmp_path: Path, settings: Settings) -> Iterator[list[Service]]:
    """Two containers, as they are with `network_mode: host`."""
    namespace = require_namespaces()
    both = [Service(namespace, tmp_path / name, settings) for name in ("one", "two")]
    yield both
    for service in both:
        service.close()


async def test_a_kill_in_one_container_costs_nothing_in_another_of_the_same_host_name(caller: Caller, services: list[Service]) -> None:
    await until(lambda: all("model ready" in service.log.read_text() for service in services), "both are ready")
    one, two = await entries(caller)
    assert (one["pid"], one["host"]) == (two["pid"], two["host"])
    assert one["name"] != two["name"]
    jobs = [await caller.submit("sleeper", seconds=6) for _ in services]
    for job_id in jobs:
        await caller.until(job_id, "running")
    services[0].worker().kill()
    await until(lambda: "1 jobs of the dead worker are taken care of" in services[0].log.read_text(), "the death is reported")
    ended = [await caller.end(job_id) for job_id in jobs]
    assert sorted((job.status, job.attempt) for job in ended) == [("succeeded", 1), ("succeeded", 2)]
    assert len(await entries(caller)) == 2
