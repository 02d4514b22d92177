"""A job as callers see it (HTTP.md, "Job")."""

from __future__ import annotations

from typing import Any

import orjson

from longrun.clock import rfc3339
from longrun.jobs.failure import problem_of
from longrun.jobs.files import as_output
from longrun.jobs.policy import Policy
from longrun.jobs.record import AttemptRecord, JobRecord
from longrun.jobs.states import Status


def _raw(data: bytes | None) -> Any:
    return None if data is None else orjson.Fragment(data)


def _seconds(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else max(0, end - start) / 1000


def job_urls(job_id: str, base: str) -> dict[str, str]:
    """The job's URLs; `base` is what stands before `/jobs`."""
    root = f"{base}/jobs/{job_id}"
    return {"self": root, "result": f"{root}/result", "events": f"{root}/events", "ws": f"{root}/ws", "cancel": f"{root}/cancel"}


def job_view(job: JobRecord, base: str, *, with_output: bool = True, debug: bool = False) -> dict[str, Any]:
    """The JSON body of a job, ready for `orjson.dumps` (stored JSON is passed on as fragments, not parsed).

    Args:
        job: the record.
        base: what stands before `/jobs` in the URLs.
        with_output: False leaves the members `output` and `output_file` out (lists do).
        debug: whether errors carry the operator's text.
    """
    urls = job_urls(job.id, base)
    view: dict[str, Any] = {
        "id": job.id,
        "model": job.model,
        "status": job.status.value,
        "terminal": job.terminal,
        "version": job.version,
        "queue": job.queue,
        "priority": job.priority,
        "attempt": job.attempt,
        "retries_left": job.retries_left,
        "created_at": rfc3339(job.created),
        "queued_at": rfc3339(job.queued),
        "started_at": rfc3339(job.started),
        "finished_at": rfc3339(job.finished),
        "expires_at": rfc3339(job.expires),
        "next_attempt_at": rfc3339(job.due) if job.status in (Status.RETRYING, Status.SCHEDULED) else None,
        "position": job.position,
        "progress": None if job.progress is None else orjson.loads(job.progress) | {"updated_at": rfc3339(job.progress_at)},
        "error": None if job.error is None else problem_of(job.error, urls["self"], debug=debug),
        "partial": job.partial,
        "usage": _usage(job),
        "tags": _raw(job.tags) or [],
        "metadata": _raw(job.metadata) or {},
        "policy": (Policy.from_json(job.policy) if job.policy else Policy()).public(),
        "webhook": _webhook(job),
        "retry_of": job.retry_of,
        "retried_by": job.retried_by,
        "parent": None,
        "batch": job.batch,
        "batch_index": job.batch_index,
        "urls": urls,
    }
    if with_output:
        view |= {"output": _raw(job.output), "output_file": _output_file(job)}
    return view


def _output_file(job: JobRecord) -> dict[str, Any] | None:
    """Where an output is that is too large for the record."""
    ref = job.output_ref
    return None if ref is None else {**as_output(ref), "url": job.output_url}


def _webhook(job: JobRecord) -> dict[str, Any] | None:
    """Without its secret."""
    if job.hook is None:
        return None
    hook = orjson.loads(job.hook)
    return {"url": hook["url"], "events": hook["events"]}


def _usage(job: JobRecord) -> dict[str, Any]:
    usage: dict[str, Any] = {"queue_s": _seconds(job.queued, job.started)}
    if job.usage is not None:
        usage |= orjson.loads(job.usage)
    return usage


def attempt_view(attempt: AttemptRecord, instance: str, *, debug: bool = False) -> dict[str, Any]:
    """The JSON body of one attempt."""
    return {
        "attempt": attempt.attempt,
        "worker": attempt.worker,
        "device": attempt.device,
        "started_at": rfc3339(attempt.started),
        "finished_at": rfc3339(attempt.finished),
        "run_s": _seconds(attempt.started, attempt.finished),
        "outcome": attempt.outcome,
        "usage": attempt.usage,
        "error": None if attempt.error is None else problem_of(attempt.error, instance, debug=debug),
    }
