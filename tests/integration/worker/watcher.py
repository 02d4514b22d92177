"""A caller of models that run on: it sees the traces that they leave, and reads what a stopped job tells."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
from tests.integration.worker.conftest import Caller
from tests.waiting import until

from longrun.jobs.policy import Policy
from longrun.jobs.record import JobRecord
from longrun.store.store import Store


class Watcher(Caller):
    """A caller that sees the traces of the models too."""

    def __init__(self, store: Store, log: Path) -> None:
        super().__init__(store)
        self.log = log
        self.submitted: list[str] = []

    async def submit(self, model: str, queue: str = "default", *, policy: Policy | None = None, priority: int = 5, **data: Any) -> str:
        self.submitted.append(await super().submit(model, queue, policy=policy, priority=priority, **data))
        return self.submitted[-1]

    async def batch(self, model: str, queue: str, **data: Any) -> list[str]:
        """Two jobs that run in one batch: they wait while another one runs."""
        first = await self.submit(model, queue, how="held")
        await self.until_begun(first)
        both = [await self.submit(model, queue, **data) for _ in range(2)]
        self.let_go(first)
        await self.until_begun(*both)
        return both

    def let_go(self, *job_ids: str) -> None:
        """These, which were submitted as `held`, may end."""
        for job_id in job_ids:
            self.log.with_name(job_id).touch()

    def notes(self, job_id: str) -> list[str]:
        """What the job left: `begin`, `left`."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split(" job_")[0] for line in lines if job_id in line]

    def begun(self, job_id: str) -> list[int]:
        """In which processes it began."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [int(line.split()[-1]) for line in lines if job_id in line and line.startswith("begin")]

    async def until_begun(self, *job_ids: str) -> None:
        """Until user code of all of them runs."""
        await until(lambda: all(self.begun(job_id) for job_id in job_ids), "all of them have begun")

    async def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job and wait for its end."""
        begin = time.monotonic()
        await self.store.records.cancel(job_id, "t")
        job = await self.end(job_id)
        print(f"{job.model}: ended {time.monotonic() - begin:.2f} s after the request, {job.error!r}")
        return job


def error_of(job: JobRecord) -> dict[str, Any]:
    error: dict[str, Any] = orjson.loads(job.error or b"{}")
    return error


def how(job: JobRecord) -> tuple[str, str, str | None]:
    error = error_of(job)
    return job.status.value, error.get("code", ""), error.get("stopped_by")
