"""Answers other than success: problem documents (RFC 9457)."""

from __future__ import annotations

from typing import Annotated, Any, Self

import orjson
from msgspec import UNSET, UnsetType

from longrun.jobs.failure import DEATH, RETRYABLE_CODES, STEP, STOP, TITLES, StoppedBy
from longrun.wire.base import Answer, about


class Finding(Answer):
    """One thing that is wrong with a request."""

    pointer: Annotated[str, about("JSON pointer (RFC 6901) to what is wrong")]
    detail: str


class _Kind(Answer):
    type: Annotated[str, about("URN of the kind of problem")]
    title: str
    status: int
    detail: Annotated[str, about("what was wrong, and what to do")]
    instance: Annotated[str, about("path of the request")]
    code: Annotated[str, about("stable code to decide by")]
    retryable: bool


class Problem(_Kind, forbid_unknown_fields=False):
    """RFC 9457."""

    request_id: Annotated[str, about("also in the header X-Request-Id; the operator's log names it")]
    errors: list[Finding] | UnsetType = UNSET


class JobProblem(_Kind):
    """Why a job did not succeed."""

    attempt: int
    cause: str | None
    signal: Annotated[str | UnsetType, about("the signal that ended the job's process, such as SIGSEGV")] = UNSET
    exit_code: Annotated[int | UnsetType, about("exit status of the job's process, when no signal ended it")] = UNSET
    peak_memory: Annotated[int | UnsetType, about("most bytes that the job's process held, the loaded model included")] = UNSET
    hint: Annotated[str | UnsetType, about("what is known, or guessed, of the cause")] = UNSET
    step: Annotated[str | UnsetType, about("key of the step that failed, with `step-failed`")] = UNSET
    job_id: Annotated[str | UnsetType, about("the job that this step was")] = UNSET
    step_code: Annotated[str | UnsetType, about("the code of the step's own error")] = UNSET
    stopped_by: Annotated[StoppedBy | UnsetType, about("the step that stopped a canceled or timed-out job")] = UNSET
    run_s: Annotated[float | UnsetType, about("seconds it had run when it had stopped")] = UNSET
    stop_s: Annotated[float | UnsetType, about("seconds from the request, or the end of the limit, until it had stopped")] = UNSET
    debug: Annotated[str | UnsetType, about("the operator's text; only with LONGRUN_EXPOSE_ERRORS")] = UNSET

    @classmethod
    def of(cls, stored: bytes | dict[str, Any], instance: str, *, debug: bool = False, **more: Any) -> Self:
        """The problem of a job.

        Args:
            stored: what `JobFailure.to_json` (or a script) wrote.
            instance: path of the job.
            debug: whether the operator's text is included.
            more: further members.
        """
        held: dict[str, Any] = orjson.loads(stored) if isinstance(stored, bytes) else stored
        code = held["code"]
        known = {name: held[name] for name in (*DEATH, *STEP, *STOP) if name in held}
        return cls(
            type=f"urn:longrun:problem:{code}", title=TITLES.get(code, "The job did not succeed"), status=424,
            detail=held.get("detail", ""), instance=instance, code=code, retryable=code in RETRYABLE_CODES,
            attempt=held.get("attempt", 0), cause=held.get("cause"), debug=held.get("debug", UNSET) if debug else UNSET,
            **{**known, **more},
        )  # fmt: skip


class JobUnsuccessful(JobProblem, kw_only=True):
    """The job's own problem, in answer to a request for its output. Here `job_id` is that job."""

    job_id: str
    request_id: str
