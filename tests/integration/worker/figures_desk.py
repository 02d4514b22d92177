"""Compares every place in which the time of a job is shown with what its code has noted."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import Caller
from tests.waiting import until

from longrun import wire
from longrun.api.metrics import families, render
from longrun.cli.jobs import _row
from longrun.jobs.record import JobRecord
from longrun.models import Registry
from longrun.service import overview
from longrun.service.parts import Parts
from longrun.service.watch import done_data
from longrun.settings import Settings
from longrun.store.store import Store

MODELS = Path(__file__).with_name("models_that_take_time.py")
#: Between two looks at a clock, by two processes on a busy machine.
NEAR = 0.15
QUEUES = "sync,row,aio,many"


@dataclass(slots=True)
class Desk:
    """Submits jobs, and compares every place in which their time is shown with what their code has noted."""

    caller: Caller
    settings: Settings
    log: Path
    runtimes: dict[str, float] | None = None  #: of Celery's events, by job id; None = nobody listens

    def visits(self, job_id: str) -> list[tuple[int, float, float]]:
        """Attempt, begin and end of each visit of the job's code. One that did not come back has no end: infinite."""
        found: dict[tuple[int, float], float] = {}
        for line in self.log.read_text().splitlines() if self.log.exists() else []:
            what, whose, attempt, begin, end = line.split()
            if whose == job_id:
                found[int(attempt), float(begin)] = float(end) if what == "visit" else float("inf")
        return [(attempt, begin, end) for (attempt, begin), end in found.items()]

    async def until_in_code(self, *job_ids: str) -> None:
        await until(lambda: all(self.visits(job_id) for job_id in job_ids), "their code runs")

    async def seen(self) -> overview.Overview:
        return await overview.look(_parts(self.caller.store))

    async def stats(self, model: str) -> dict[str, float]:
        """What /stats says of a model; the metrics must say the same."""
        seen = await self.seen()
        shown = next((each for each in overview.stats(_parts(self.caller.store), seen).models if each.model == model), None)
        found = {what: getattr(shown, f"{what}_s", 0.0) for what in ("queue", "wait", "run", "store")}
        lines = render(families(_parts(self.caller.store), seen))
        for what, seconds in found.items():
            match = re.search(rf'^longrun_{what}_seconds_total{{model="{model}"}} (.*)$', lines, re.MULTILINE)
            assert (float(match[1]) if match else 0.0) == seconds
        return found

    async def attempts(self, job_id: str) -> list[dict[str, Any]]:
        found = await self.caller.store.records.attempts(job_id, "t")
        return [json.loads(wire.encode(wire.Attempt.of(each, "/x"))) for each in found]

    async def agreed(self, job_id: str, cut: dict[int, float] | None = None) -> tuple[JobRecord, list[dict[str, Any]]]:
        """All places agree on the job, and on what its code has noted. `cut`: when an attempt was cut off, in monotonic time."""
        job, attempts = await self.caller.end(job_id), await self.attempts(job_id)
        body = json.loads(wire.encode(wire.Job.of(job, "")))
        for row in attempts:
            number = row["attempt"]
            last = (cut or {}).get(number, float("inf"))
            visits = [(begin, min(end, last)) for n, begin, end in self.visits(job_id) if n == number and begin < last]
            if not visits:
                assert (row["run_s"], row["wait_s"], row["store_s"]) == (None, None, None)
                continue
            assert row["run_s"] == pytest.approx(sum(end - begin for begin, end in visits), abs=NEAR), (number, attempts)
            assert row["usage"]["run_s"] == row["run_s"]
            if row["error"] and "stopped_by" in row["error"]:
                assert row["error"]["run_s"] == pytest.approx(row["run_s"], abs=0.001)
            took = at(row["finished_at"]) - at(row["started_at"])
            assert row["wait_s"] + row["run_s"] + row["store_s"] == pytest.approx(took, abs=0.01)
        known = [row["run_s"] for row in attempts if row["run_s"] is not None]
        assert body["usage"].get("run_s") == (pytest.approx(sum(known), abs=1e-5) if known else None)
        assert body["usage"]["queue_s"] == attempts[-1]["queue_s"]
        assert orjson.loads(done_data(job, ""))["usage"] == body["usage"]
        assert _row(body)[5] == (f"{body['usage']['run_s']:.1f}" if known else "-")
        if job.status == "succeeded" and (runtimes := self.runtimes) is not None:
            await until(lambda: job_id in runtimes, "Celery's event")
            assert runtimes[job_id] == pytest.approx(attempts[-1]["run_s"], abs=1e-5)
        return job, attempts

    async def together(self, *items: dict[str, Any]) -> tuple[str, list[str]]:
        """A job that has ended, and those that have waited for it and go in one batch."""
        first = await self.caller.submit("many", "many", seconds=1.0)
        await self.until_in_code(first)
        ids = [await self.caller.submit("many", "many", **item) for item in items]
        await self.agreed(first)
        return first, ids

    async def counted(self, model: str, before: dict[str, float], *job_ids: str) -> None:
        """/stats and the metrics have grown by what the attempts of these jobs say."""
        rows = [row for job_id in job_ids for row in await self.attempts(job_id)]
        now = await self.stats(model)
        for what in now:
            total = sum(row[f"{what}_s"] or 0.0 for row in rows)
            assert now[what] - before[what] == pytest.approx(total, abs=0.005), what


def _parts(store: Store) -> Parts:
    return Parts(Settings(), store, Registry())  # type: ignore[arg-type]  # no more of them is looked at


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
