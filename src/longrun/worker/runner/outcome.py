"""From what a model returned or raised to what the worker is told: pure."""

from __future__ import annotations

import traceback
from typing import Any

from longrun.errors import BadInput, BlobsFull, BlobsUnavailable, Failure, JobError, ResultTooLarge, RetryAfter, ValidationFailed
from longrun.jobs.failure import TITLES, JobFailure
from longrun.models import ModelSpec
from longrun.worker.runner.memory import is_out_of_memory

Done = tuple[str, int, str, bytes, float, Any]


def error_code(error: BaseException) -> str:
    """The stable code of an exception raised by a model."""
    if isinstance(error, JobError):
        return error.code
    if isinstance(error, ValidationFailed):
        return "validation-failed"
    if isinstance(error, BlobsFull | BlobsUnavailable):
        return error.code
    return "out-of-memory" if is_out_of_memory(error) else "model-error"


def failure_of(error: BaseException, attempt: int) -> JobFailure:
    """The stored form of an exception. The caller's text never holds the exception's own, except where the author chose it (`Failure`)."""
    code, name = error_code(error), type(error).__name__
    if isinstance(error, JobError):
        detail, cause = error.detail, error.cause
    elif isinstance(error, BlobsFull | BlobsUnavailable):
        detail, cause = error.detail, None
    elif code == "validation-failed":
        detail, cause = "The input does not fit the model that this worker has loaded.", None
    else:
        detail, cause = f"{TITLES[code]} ({name}).", name
    return JobFailure(code=code, detail=detail, attempt=attempt, cause=cause, debug="".join(traceback.format_exception(error)))


def is_retryable(error: BaseException, spec: ModelSpec) -> bool:
    """Whether the model's `Retry` covers the exception. A deliberate `Failure` is tried again only when `on` names it."""
    retry = spec.options.retry
    if retry is None or isinstance(error, ResultTooLarge | BadInput) or not retry.covers(error):
        return False
    deliberate = Failure if isinstance(error, Failure) else ValidationFailed if isinstance(error, ValidationFailed) else None
    return deliberate is None or any(issubclass(each, deliberate) and isinstance(error, each) for each in retry.on)


def done_error(job_id: str, attempt: int, error: BaseException, spec: ModelSpec, run_s: float, *, how: str | None) -> Done:
    """The `done` entry of a job that raised; `how` it had been told to stop, if it was."""
    asked = error.seconds if isinstance(error, RetryAfter) else None
    failure = failure_of(error, attempt)
    kind = "memory" if failure.code == "out-of-memory" else "error"
    return job_id, attempt, kind, failure.to_json(), run_s, [is_retryable(error, spec), asked, how]
