"""How long a job waits whose worker was killed: from SIGKILL to its next start, by the clock of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import httpx
import psutil

from bench.children import Child
from bench.errors import CheckError
from bench.figures import Figure
from bench.longrun_jobs import open_store
from bench.plan import Plan, say
from bench.stage import HERE, Stage
from longrun.jobs.record import JobRecord

APP = str(HERE / "sleeper.py")
LIMIT = 60.0  # seconds
RUN = 50  # seconds: longer than it takes to be found out
NOTE = (
    "SIGKILL to the worker process in the middle of a job; the end is the start of the job's second attempt, by its record. Alone: a "
    "second worker is there, and nobody knows of the death but by the lease (10 s). Supervised: `longrun serve` has started the worker,"
    " and starts another one."
)


def measure(plan: Plan) -> list[Figure]:
    """Seconds, each way."""
    alone = [_said("alone", _alone()) for _ in range(plan.killed)]
    supervised = [_said("supervised", _supervised()) for _ in range(plan.killed)]
    what = "worker killed: seconds until its job runs again"
    return [
        Figure("recovery", f"{what}, alone", "s", "-", alone, [], "lower", "alone", note=NOTE),
        Figure("recovery", f"{what}, supervised", "s", "-", supervised, [], "lower", "supervised", note=NOTE),
    ]


def _said(name: str, seconds: float) -> float:
    say(f"  {name}: {seconds:.3g} s")
    return seconds


def _alone() -> float:
    with Stage() as stage:
        url = stage.valkey()
        port, _ = stage.longrun_api_process(url, APP)
        victim = stage.longrun_worker(url, APP)
        job_id = _running(port)
        stage.longrun_worker(url, APP)
        _works(port, 2)
        return _killed(url, job_id, victim.pid)


def _supervised() -> float:
    with Stage() as stage:
        port, child = stage.longrun_serve(APP)
        job_id = _running(port)
        return _killed(stage.served_url(), job_id, _worker_of(child))


def _running(port: int) -> str:
    """Submit a job and wait until it runs."""
    base = f"http://127.0.0.1:{port}/api/v1"
    job = httpx.post(f"{base}/models/sleeper/jobs", json={"input": {"seconds": RUN}}, trust_env=False).raise_for_status().json()
    give_up = time.monotonic() + LIMIT
    while job["status"] != "running":
        if time.monotonic() > give_up:
            raise CheckError(f"the job did not start within {LIMIT:g} s")
        time.sleep(0.1)
        job = httpx.get(f"{base}/jobs/{job['id']}", trust_env=False).raise_for_status().json()
    return str(job["id"])


def _works(port: int, workers: int) -> None:
    """Wait until so many workers are announced."""
    give_up = time.monotonic() + LIMIT
    while len(httpx.get(f"http://127.0.0.1:{port}/api/v1/workers", trust_env=False).raise_for_status().json()["workers"]) < workers:
        if time.monotonic() > give_up:
            raise CheckError(f"there were not {workers} workers within {LIMIT:g} s")
        time.sleep(0.2)


def _worker_of(serve: Child) -> int:
    """The process that the supervisor runs as a worker; its runners are below it."""
    found = [each for each in psutil.Process(serve.pid).children() if "worker" in each.cmdline()]
    if len(found) != 1:
        raise CheckError(f"`longrun serve` has {len(found)} workers, not one")
    return int(found[0].pid)


def _killed(url: str, job_id: str, pid: int) -> float:
    os.kill(pid, signal.SIGKILL)
    at = time.time()
    record = asyncio.run(_second_start(url, job_id))
    assert record.started is not None
    return record.started / 1000 - at


async def _second_start(url: str, job_id: str) -> JobRecord:
    give_up = time.monotonic() + LIMIT
    async with open_store(url) as store:
        while time.monotonic() < give_up:
            record = await store.records.read(job_id, "default")
            if record.attempt == 2 and record.status == "running":
                return record
            if record.terminal:
                raise CheckError(f"the job has ended as {record.status.value}")
            await asyncio.sleep(0.05)
    raise CheckError(f"the job did not start again within {LIMIT:g} s")
