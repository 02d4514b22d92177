"""What an exception becomes when it ends a step: its parts alone, never the exception."""

from __future__ import annotations

from longrun.errors import JobError, StepFailed, ValidationFailed
from longrun.errors.catching import is_caught_by
from longrun.jobs.failure import TITLES, JobFailure


def failure_of(error: BaseException) -> JobFailure:
    """The failure of a step that has raised this. Its text is the exception's own only where the author chose it."""
    name: str = type.__dict__["__name__"].__get__(type(error))  # not as its metaclass says it
    if isinstance(error, StepFailed):
        return JobFailure("step-failed", error.detail, cause=error.cause, step=error.step, job_id=error.job_id, step_code=error.code)
    if isinstance(error, JobError):
        return JobFailure(type(error).code, error.detail, cause=error.cause)
    if isinstance(error, ValidationFailed):
        return JobFailure(error.code, error.detail)
    code = "out-of-memory" if is_caught_by(error, MemoryError) else "model-error"
    return JobFailure(code, f"{TITLES[code]} ({name}).", cause=name)
