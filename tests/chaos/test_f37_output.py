"""Row F37: what all processes print and log goes nowhere."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.chaos.cluster import Cluster
from tests.chaos.program import until
from tests.full_pipes import read_all, unread_pipe

pytestmark = pytest.mark.chaos

APP = Path(__file__).with_name("models_that_log.py")
ENDS = {
    "plain": ("succeeded", None),
    "raises": ("failed", "model-error"),
    "too_long": ("failed", "timeout"),
    "waits": ("canceled", "canceled"),
    "talks": ("succeeded", None),
    "dies": ("failed", "worker-lost"),
}


@contextmanager
def output(kind: str, folder: Path) -> Iterator[int]:
    """A descriptor that takes nothing; or everything, where it is the logger that fails."""
    if kind == "unread pipe":
        with unread_pipe() as (_, writes):
            yield writes
        return
    if kind == "reader gone":
        reads, number = os.pipe()
        os.close(reads)
    else:
        number = os.open("/dev/full" if kind == "full disk" else folder / "log", os.O_WRONLY | os.O_CREAT)
    try:
        yield number
    finally:
        os.close(number)


class Service:
    """`longrun serve` and its processes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.program = cluster, cluster.programs[0]
        self.http = httpx.Client(base_url=cluster.url, timeout=60)

    def submit(self, model: str) -> str:
        job_id: str = self.http.post(f"/api/v1/models/{model}/jobs", json={"input": {"text": "x"}}).raise_for_status().json()["id"]
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.http.get(f"/api/v1/jobs/{job_id}").raise_for_status().json()
        return job

    def process(self, word: str) -> psutil.Process:
        return next(each for each in self.program.offspring() if word in " ".join(each.cmdline()[:6]))


@pytest.mark.parametrize("kind", [pytest.param("unread pipe", marks=pytest.mark.gate), "full disk", "reader gone", "raising logger"])
def test_f37_nothing_is_lost_but_lines_when_no_output_can_be_written(kind: str, tmp_path: Path) -> None:
    settings = {
        "LONGRUN_MAX_CRASHES": "2",
        "LONGRUN_API_PROCESSES": "2",
        "CHAOS_LOGGER": "raises" if kind == "raising logger" else "",
    }
    with output(kind, tmp_path) as number, Cluster(tmp_path, serve=True, app=APP, settings=settings, output=number) as cluster:
        service = Service(cluster)
        cluster.workers_ready()
        # Celery writes the stacks of all threads in its handler.
        service.process("worker").send_signal(signal.SIGUSR1)
        for turn in range(2):
            jobs = {model: service.submit(model) for model in ENDS}
            until(lambda jobs=jobs: service.job(jobs["waits"])["status"] == "running", "the job runs", timeout=60)
            service.http.post(f"/api/v1/jobs/{jobs['waits']}/cancel").raise_for_status()
            until(lambda jobs=jobs: all(service.job(each)["terminal"] for each in jobs.values()), "all jobs end", timeout=60)
            found = {model: service.job(each) for model, each in jobs.items()}
            assert {model: (job["status"], (job["error"] or {}).get("code")) for model, job in found.items()} == ENDS
            if not turn:
                answers_503_while_the_store_stands_still(service)
                service.process("worker").kill()
                cluster.workers_ready()
        assert service.http.get("/readyz").json()["ready"]
        started = time.monotonic()
        assert service.program.stop(timeout=30) == 0
        print(f"ended after {time.monotonic() - started:.1f} s")


def answers_503_while_the_store_stands_still(service: Service) -> None:
    server = service.process("valkey-server")
    server.send_signal(signal.SIGSTOP)
    try:
        answer = service.http.post("/api/v1/models/plain/jobs", json={"input": {"text": "x"}})
        ready = service.http.get("/readyz")
    finally:
        server.send_signal(signal.SIGCONT)
    assert (answer.status_code, ready.status_code) == (503, 503)
    until(lambda: service.http.get("/readyz").status_code == 200, "the store answers again", timeout=30)


def test_f37_a_log_that_is_read_again_goes_on_and_says_how_many_lines_were_lost(tmp_path: Path) -> None:
    with unread_pipe() as (reads, number), Cluster(tmp_path, serve=True, app=APP, output=number) as cluster:
        service = Service(cluster)
        cluster.workers_ready()
        ends(service, "talks")
        said = b""

        def goes_on() -> bool:
            nonlocal said
            said += read_all(reads)
            return b"lines of the log were lost" in said

        until(goes_on, "the loss is reported", timeout=60)
        ends(service, "raises")
        until(lambda: goes_on() and b"job raised" in said, "lines come again", timeout=60)


def ends(service: Service, model: str) -> None:
    job_id = service.submit(model)
    until(lambda: service.job(job_id)["terminal"], f"{model} ends", timeout=60)
