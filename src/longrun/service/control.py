"""Acting on jobs: cancel, retry, delete, redrive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from longrun.clock import is_job_id, new_job_id
from longrun.errors import Problem, StoreUnavailable
from longrun.jobs.record import JobRecord
from longrun.service.parts import Parts
from longrun.service.read import Filters, known_form, list_jobs

#: Dead letters that one redrive handles.
MOST = 1000
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Redriven:
    """What a redrive did."""

    jobs: dict[str, str] = field(default_factory=dict)  #: old id → new id
    skipped: dict[str, str] = field(default_factory=dict)  #: old id → code of the problem
    left: int = 0  #: dead letters that the tenant still has


async def cancel(parts: Parts, tenant: str, job_id: str) -> JobRecord:
    """Ask the job to stop, and return it as it is then. Idempotent.

    Raises:
        JobNotFound, JobGone
    """
    await parts.store.records.cancel(known_form(job_id), tenant)
    return await parts.store.records.read(job_id, tenant)


async def retry(parts: Parts, tenant: str, job_id: str) -> JobRecord:
    """A new job with the input of an ended one; asked again, the same new job.

    Raises:
        JobNotFound, JobGone
        NotRetryable: it has not failed, nor was it canceled, nor has it expired.
    """
    fresh = await parts.store.records.resubmit(known_form(job_id), tenant, new_job_id())
    return await parts.store.records.read(fresh, tenant)


async def delete(parts: Parts, tenant: str, job_id: str) -> None:
    """Erase an ended job and leave a tombstone.

    Raises:
        JobNotFound, JobGone
        NotFinished: it has not ended.
    """
    await parts.store.records.delete(known_form(job_id), tenant)


async def redrive(parts: Parts, tenant: str, ids: Sequence[str]) -> Redriven:
    """Retry the dead letters named; what cannot be retried is told apart in `skipped`. At most `MOST` ids."""
    result = Redriven()
    todo = list(dict.fromkeys(ids))[:MOST]
    for start in range(0, len(todo), _AT_ONCE):
        await asyncio.gather(*(_redrive_one(parts, tenant, job_id, result) for job_id in todo[start : start + _AT_ONCE]))
    return Redriven(result.jobs, result.skipped, await parts.store.records.dead(tenant))


async def redrive_matching(parts: Parts, tenant: str, *, model: str | None = None, code: str | None = None) -> Redriven:
    """Retry the latest dead letters of a model, with an error code, or all; at most `MOST`."""
    ids: list[str] = []
    cursor: str | None = None
    while len(ids) < MOST:
        page = await list_jobs(parts, tenant, Filters(model=model), cursor=cursor, limit=100, index="dead")
        ids += [job.id for job in page.jobs if code is None or error_code(job) == code]
        cursor = page.cursor
        if cursor is None:
            break
    return await redrive(parts, tenant, ids)


def error_code(job: JobRecord) -> str | None:
    """The code of the job's error."""
    return None if job.error is None else str(orjson.loads(job.error).get("code"))


async def _redrive_one(parts: Parts, tenant: str, job_id: str, result: Redriven) -> None:
    if not is_job_id(job_id):
        result.skipped[job_id] = "job-not-found"
        return
    try:
        result.jobs[job_id] = await parts.store.records.resubmit(job_id, tenant, new_job_id())
    except StoreUnavailable:
        raise
    except Problem as problem:
        result.skipped[job_id] = problem.code
