"""Why a job did not succeed, as stored in its record and shown in `job.error`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

TITLES = {
    "model-error": "The model raised an error",
    "invalid-output": "The model returned an invalid output",
    "model-load-failed": "The model could not be loaded",
    "out-of-memory": "The model ran out of memory",
    "timeout": "The job ran longer than its time limit",
    "canceled": "The job was canceled",
    "expired": "The job did not start in time",
    "worker-lost": "The job's worker or runner died too often",
    "outcome-unknown": "The worker died; whether the work was done is not known",
    "upstream-rate-limited": "An upstream service asked to wait",
    "upstream-error": "An upstream service failed",
    "step-failed": "A step of the job failed",
    "step-not-awaited": "A step of the job was never awaited",
    "too-many-steps": "The job may have no more steps",
    "over-budget": "The jobs of the tree have used what they may",
    "wait-timeout": "Nobody answered in time",
    "result-too-large": "The output is larger than allowed",
    "validation-failed": "The input does not fit the model",
    "storage-full": "There was no room for a file that the model made",
    "storage-unavailable": "A file of the job could not be read or stored",
}
#: Codes after which a retry of the job by its caller has a fair chance.
RETRYABLE_CODES = frozenset(
    {
        "timeout",
        "expired",
        "canceled",
        "worker-lost",
        "out-of-memory",
        "upstream-rate-limited",
        "upstream-error",
        "model-load-failed",
        "storage-full",
        "storage-unavailable",
    }
)
#: What is known of the death of a process: members that only such failures have.
DEATH = ("signal", "exit_code", "peak_memory", "hint")
#: What is known of the step that failed: its key, the job that it was, the code of its own error.
STEP = ("step", "job_id", "step_code")
#: How a job was stopped: members that only canceled and timed-out jobs have, when their work had begun.
STOP = ("stopped_by", "run_s", "stop_s")
#: The step that stopped it: it looked at its flag (or ended by itself when asked to), an exception was raised in its code, its process
#: was ended, or only its result is refused: it shares a process with others, and the work itself may go on to its end.
StoppedBy = Literal["flag", "exception", "kill", "fenced"]
_LONGEST_DETAIL, _LONGEST_CAUSE, _LONGEST_DEBUG = 4_096, 256, 16_384


@dataclass(frozen=True, slots=True)
class JobFailure:
    """One failure.

    Args:
        code: stable code, a key of `TITLES`.
        detail: text for the caller; never a traceback, a path or an internal name.
        attempt: the attempt that failed; 0 when none had started.
        cause: class name of the exception, when there was one.
        debug: text for the operator (exception text and traceback); shown only with `expose_errors`.
        signal: name of the signal that ended the job's process, such as `SIGSEGV`.
        exit_code: exit status of a process that no signal ended.
        peak_memory: most bytes that the process held, the loaded model included.
        hint: what is known, or guessed, of the cause.
        stopped_by: the step that stopped it.
        run_s: seconds that its code had run when it had stopped.
        stop_s: seconds from the request (or the end of the limit) until it had stopped.
        step: of `step-failed`, the key of the step in the job's journal.
        job_id: the job that this step was; None: it was none.
        step_code: the code of the step's own failure.
    """

    code: str
    detail: str = ""
    attempt: int = 0
    cause: str | None = None
    debug: str | None = None
    signal: str | None = None
    exit_code: int | None = None
    peak_memory: int | None = None
    hint: str | None = None
    stopped_by: StoppedBy | None = None
    run_s: float | None = None
    stop_s: float | None = None
    step: str | None = None
    job_id: str | None = None
    step_code: str | None = None

    def to_json(self) -> bytes:
        """The failure as stored in the record; absent members are left out, long texts are cut.

        What an author passes as a text may be anything, an exception for example: it never keeps a failure from being stored.
        """
        detail = _text(self.detail, _LONGEST_DETAIL) or TITLES.get(self.code, self.code)
        members: dict[str, Any] = {"code": self.code, "detail": detail, "attempt": self.attempt}
        if self.cause:
            members["cause"] = _text(self.cause, _LONGEST_CAUSE)
        if self.debug:
            members["debug"] = _text(self.debug, _LONGEST_DEBUG)
        members |= {name: value for name in (*DEATH, *STEP, *STOP) if (value := getattr(self, name)) is not None}
        return orjson.dumps(members)


def _text(value: object, longest: int) -> str:
    """The value as text that JSON can hold: half a surrogate pair, as in names of files, becomes `?`."""
    try:
        text = str(value)
    except Exception:
        text = type(value).__name__
    return text[:longest].encode("utf-8", "replace").decode()
