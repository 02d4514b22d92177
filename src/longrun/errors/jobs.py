"""How attempts fail, how calls through the client fail, and how a model is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from longrun.errors.problems import LongrunError


class JobError(LongrunError):
    """An attempt failed in a way that has its own code.

    Args:
        detail: text that callers may read.
        cause: class name of the underlying exception, when there is one.
    """

    code: ClassVar[str] = "model-error"
    title: ClassVar[str] = "The model raised an error"

    def __init__(self, detail: str = "", *, cause: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.cause = cause


class Failure(JobError):
    """Raise it in a model to fail the job with a text that the caller may read. Not tried again, unless `Retry(on=…)` names it."""


class RetryAfter(JobError):
    """Raise it in a model to be run again in `seconds` (an upstream said 429 or 503).

    Args:
        seconds: how long to wait before the next attempt.
        detail: text that callers may read.
    """

    code, title = "upstream-rate-limited", "An upstream service asked to wait"

    def __init__(self, seconds: float, detail: str = "", *, cause: str | None = None) -> None:
        super().__init__(detail, cause=cause)
        self.seconds = float(seconds)


class InvalidOutput(JobError):
    """The model returned something that its own return annotation does not allow, or that JSON cannot hold."""

    code, title = "invalid-output", "The model returned an invalid output"


class BadInput(JobError):
    """A file of the input turned out to be damaged when the model opened it. Not tried again: it would be damaged again."""

    code, title = "validation-failed", "The input is not valid"


class ResultTooLarge(JobError):
    """The output has more bytes than `LONGRUN_MAX_OUTPUT`. Not tried again: it would be too large again."""

    code, title = "result-too-large", "The output is larger than allowed"


class CallError(LongrunError):
    """A call through `longrun.Client` had no success, and trying it again has not helped.

    Attributes:
        retryable: whether the same call may succeed later.
        may_exist: of a submit: whether a try without an answer may have made the job. `submit` with the same `idempotency_key` then
            gives that job, or makes it now; there is never a second one.
        idempotency_key: the key that the submit carried; "" for other calls.
        job_id: the job that the problem is about, or under which a submit was not confirmed; None = not known.
    """

    retryable: bool = False
    may_exist: bool = False
    idempotency_key: str = ""
    job_id: str | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.may_exist:
            text += f"\n  the job may exist: submit it again with idempotency_key={self.idempotency_key!r}, and there is one"
        return text


class ApiError(CallError):
    """The server's answer is a problem (RFC 9457), or no answer of Longrun at all. Decide by `code`; `docs/http.md` lists them.

    Args:
        status: of the answer.
        problem: the whole problem document; empty when the answer is none.
        url: what was asked.
        text: the body's beginning, for an answer that is no problem.

    Attributes:
        code: stable code such as `validation-failed`, or `http-<status>` for an answer that is no problem.
        detail: what was wrong and what to do.
        errors: for invalid input, `{"pointer": JSON pointer, "detail": text}` for each finding.
        request_id: names the request in the server's log.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], *, url: str = "", text: str = "") -> None:
        self.status, self.problem, self.url = status, dict(problem), url
        self.code = str(problem.get("code") or f"http-{status}")
        self.detail = str(problem.get("detail") or problem.get("title") or text.strip())
        self.errors: list[dict[str, str]] = list(problem.get("errors") or [])
        self.request_id: str | None = problem.get("request_id")
        self.job_id = problem.get("job_id")
        self.retryable = bool(problem.get("retryable", status in (429, 502, 503, 504)))
        super().__init__(self._text())

    def _text(self) -> str:
        if not self.problem:
            return f"HTTP {self.status} from {self.url}: {self.detail}"
        findings = [f"{finding.get('pointer') or '/'}: {finding.get('detail', '')}" for finding in self.errors]
        lines = [f"{self.code}: {self.detail}", *(f"  {finding}" for finding in findings if finding != self.detail)]
        named = (("job", self.job_id), ("request id", self.request_id))
        return "\n".join([*lines, *(f"  {name}: {value}" for name, value in named if value)])


class Unreachable(CallError):
    """No answer came from the server: nothing listens there, or the connection broke, or it was silent for too long.

    Args:
        url: the server.
        reason: the last failure, in a few words.
    """

    retryable = True

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} does not answer ({reason})")
        self.url, self.reason = url, reason


class JobFailed(LongrunError):
    """The job ended without an output: `failed`, `canceled` or `expired`.

    Args:
        job: as it ended (`longrun.client.RemoteJob` or `AsyncRemoteJob`).
        problem: its error; see "Codes of jobs" in `docs/http.md`.

    Attributes:
        code: stable code of the problem, such as `model-error`, `timeout`, `canceled`.
        detail: what went wrong.
    """

    def __init__(self, job: Any, problem: Mapping[str, Any]) -> None:
        self.job = job
        self.code = str(problem.get("code") or job.status)
        self.detail = str(problem.get("detail") or problem.get("title") or "")
        cause = f" ({problem['cause']})" if problem.get("cause") else ""
        super().__init__(f"{job.id} {job.status}: {self.code}: {self.detail}{cause}")


class StreamBroken(LongrunError):
    """What `stream()` has given so far does not belong to what comes next.

    Args:
        detail: what happened.
        attempt: the attempt that has begun anew: forget the pieces, and call `stream()` again for those of this attempt. None = pieces are
            no longer kept; the job's `result()` will have them.
    """

    def __init__(self, detail: str, attempt: int | None = None) -> None:
        super().__init__(detail)
        self.attempt = attempt


class DownloadBroken(CallError):
    """The bytes that were fetched have another number or another digest than the file."""

    retryable = True


class Canceled(BaseException):
    """The job is to stop. Raised from `job.*` calls and `yield` and, as the second step, in the running code.

    In async code it is raised where the code waits, and is an `asyncio.CancelledError` too.
    """

    raised: ClassVar[bool] = False  #: set by a runner on a class of its own: it was raised, and `job.*` calls need not raise it again


class SoftTimeLimit(Canceled):
    """The job's `soft_timeout` (or `timeout`) is over; the model may still return what it has. Raised once."""


class StepFailed(LongrunError):
    """A step of a job failed for good; raised where the parent awaits it. It is always this class, never what was raised in the step: a
    replay takes the same branch.

    Args:
        code: why, such as `model-error` or `timeout`; see "Codes of jobs" in `docs/http.md`.
        detail: text for the caller.
        cause: class name of the exception, when there was one.
        step: the key of the step in its parent's journal.
        job_id: the child; None: it was no child, or was not made.
    """

    def __init__(self, code: str, detail: str = "", *, cause: str | None = None, step: str = "", job_id: str | None = None) -> None:
        super().__init__(f"{step}: {code}: {detail}" if step else f"{code}: {detail}")
        self.code, self.detail, self.cause, self.step, self.job_id = code, detail, cause, step, job_id


class StepRefused(StepFailed):
    """A step was not made: `too-many-steps`, `over-budget`, `validation-failed`, an unknown model, or where steps do not work."""


class StepConflict(LongrunError):
    """One name was used for two different steps in one attempt. Raised before the second is made.

    Args:
        name: as `key=` or `job.step` gave it.
        one: what the first call was, such as the name of its model.
        other: what the second is.
    """

    def __init__(self, name: str, one: str, other: str) -> None:
        which = f"{one} and {other}" if one != other else f"two calls of {one} with different inputs"
        super().__init__(f"the name {name!r} is used for {which}: give each step a name of its own")
        self.name = name


class StepNotAwaited(JobError):
    """The model has returned, and a `job.…` call of it was never awaited, so its step was never made."""

    code, title = "step-not-awaited", "A step of the job was never awaited"


class LetGo(Canceled):
    """The job is waiting for steps and gives up its place in memory: it goes on later, maybe elsewhere, with a replay.

    Clean up as for any cancellation; steps that are asked for meanwhile raise it again.
    """
