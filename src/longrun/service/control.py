"""Acting on jobs: cancel, retry, delete, redrive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from longrun import wire
from longrun.clock import new_job_id
from longrun.errors import Problem, StoreUnavailable
from longrun.jobs.record import JobRecord
from longrun.service.caller import Caller
from longrun.service.read import Filters, known_form, list_jobs

#: Dead letters that one redrive handles, and pages of them that it looks through for those that match.
MOST = 1000
_PAGES = 20
_AT_ONCE = 100


async def cancel(caller: Caller, job_id: str) -> JobRecord:
    """Ask the job to stop, and return it as it is then. Idempotent.

    Raises:
        JobNotFound, JobGone
    """
    await caller.store.records.cancel(known_form(job_id), caller.tenant)
    return await caller.store.records.read(job_id, caller.tenant)


async def retry(caller: Caller, job_id: str) -> JobRecord:
    """A new job with the input of an ended one; asked again, the same new job.

    Raises:
        JobNotFound, JobGone
        NotRetryable: it has not failed, nor was it canceled, nor has it expired.
        NotARoot: it is a step of another job, and that one is to be retried.
        StoreUnsafe: no job is accepted now.
    """
    await caller.admission.admit()
    fresh = await caller.store.records.resubmit(known_form(job_id), caller.tenant, new_job_id())
    return await caller.store.records.read(fresh, caller.tenant)


async def delete(caller: Caller, job_id: str) -> None:
    """Erase an ended job and leave a tombstone.

    Raises:
        JobNotFound, JobGone
        NotFinished: it has not ended.
        NotARoot: it is a step of another job, and goes with that one.
    """
    await caller.store.records.delete(known_form(job_id), caller.tenant)


async def redrive(caller: Caller, ids: Sequence[str]) -> wire.Redriven:
    """Retry the dead letters named; `skipped` says what cannot be retried, and why. At most `MOST` ids. Raises StoreUnsafe."""
    await caller.admission.admit()
    result = wire.Redriven([], [], 0, None)
    todo = list(dict.fromkeys(ids))[:MOST]
    for start in range(0, len(todo), _AT_ONCE):
        await asyncio.gather(*(_redrive_one(caller, job_id, result) for job_id in todo[start : start + _AT_ONCE]))
    result.left = await caller.store.records.dead(caller.tenant)
    return result


async def redrive_matching(caller: Caller, filters: Filters, *, cursor: str | None = None) -> wire.Redriven:
    """Retry the dead letters that match, the latest first; at most `MOST`, then `next` leads to those that died before them.

    A job that is retried and fails again is a new dead letter, which stands before the cursor: going on never meets it.

    Raises:
        ValidationFailed: the cursor is not one of ours.
    """
    ids: list[str] = []
    for _ in range(_PAGES):
        jobs, cursor = await list_jobs(caller, filters, cursor=cursor, limit=min(100, MOST - len(ids)), index="dead")
        ids += [job.id for job in jobs]
        if cursor is None or len(ids) == MOST:
            break
    result = await redrive(caller, ids)
    result.next = cursor
    return result


async def _redrive_one(caller: Caller, job_id: str, result: wire.Redriven) -> None:
    try:
        fresh = await caller.store.records.resubmit(known_form(job_id), caller.tenant, new_job_id())
        result.redriven.append(wire.RedrivenJob(job_id, fresh))
    except StoreUnavailable:
        raise
    except Problem as problem:
        result.skipped.append(wire.SkippedJob(job_id, problem.code))
