"""From what a model returned, yielded or raised to what the worker gets: pure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from longrun.errors import (
    BadInput,
    BlobsFull,
    BlobsUnavailable,
    Canceled,
    Failure,
    InvalidOutput,
    JobError,
    ResultTooLarge,
    RetryAfter,
    StepFailed,
    StepNotAwaited,
    ValidationFailed,
)
from longrun.errors.catching import is_caught_by
from longrun.jobs.failure import TITLES, JobFailure
from longrun.jobs.fence import Fence, attempt_of
from longrun.models import ModelSpec
from longrun.worker.runner.exception_text import class_name, plain_text
from longrun.worker.runner.raised import Raised
from longrun.worker.runner.run import Times

#: An outcome, as it stands in a frame: id, fence, kind, data, times, and what `worker.frames` says of the last two.
Done = tuple[str, Fence, str, bytes, Times, Any]
#: Values that a generator may yield: each is an event of its own, whatever its size.
_MOST = 1_000_000
#: Exceptions that have a code of their own, which their subclasses share.
_CODED = (RetryAfter, InvalidOutput, BadInput, ResultTooLarge, StepNotAwaited, ValidationFailed, BlobsFull, BlobsUnavailable, JobError)


class Items:
    """What a generator has yielded so far, encoded and in order, as long as the output that it will be joined to fits.

    Args:
        max_output: most bytes of that output.
        is_text: it is one text; otherwise a list.
    """

    def __init__(self, max_output: int, *, is_text: bool) -> None:
        self.values: list[bytes] = []
        self._limit = max_output
        # A text has quotes around it, and its parts lose theirs; a list has brackets, and a comma for each value but the first.
        self._size, self._extra = (2, -2) if is_text else (1, 1)

    def add(self, value: bytes) -> None:
        """Take a value. Raises ResultTooLarge when that is too much: an endless generator ends here, and not when memory does."""
        self._size += len(value) + self._extra
        check_size(self._size, self._limit, so_far=True)
        if len(self.values) == _MOST:
            raise ResultTooLarge(f"The model yielded more than {_MOST:,} values.")
        self.values.append(value)


def check_size(size: int, limit: int, *, so_far: bool = False) -> None:
    """Raises ResultTooLarge when an output of `size` bytes is over the limit."""
    if size > limit:
        raise ResultTooLarge(f"The output has {size} bytes{' so far' if so_far else ''}; the limit is {limit}.")


def outputs_of_batch(returned: Any, size: int) -> Sequence[Any]:
    """One for each input; where the model has not returned as many, an error for each: its work is done, and is not done again."""
    # A copy, made by Python: what is derived from `list` may do anything when it is asked for its items.
    kind = type(returned)
    if issubclass(kind, list):
        items: Sequence[Any] = list.copy(returned)
    else:
        items = tuple.__getitem__(returned, slice(None)) if issubclass(kind, tuple) else ()
    if len(items) == size and issubclass(kind, list | tuple):
        return items
    got = f"{len(items)} items" if issubclass(kind, list | tuple) else class_name(kind)
    return [InvalidOutput(f"A batch of {size} must return a list of {size}; the model returned {got}.") for _ in range(size)]


def is_stop(error: BaseException) -> bool:
    """Whether it is how a job ends that was asked to stop."""
    return is_caught_by(error, Canceled, asyncio.CancelledError)


def error_code(raised: Raised) -> str:
    """The stable code of an exception raised by a model."""
    if is_caught_by(raised.error, StepFailed):
        return "step-failed"
    for each in _CODED:
        if is_caught_by(raised.error, each):
            return each.code
    return "out-of-memory" if raised.out_of_memory else "model-error"


def failure_of(raised: Raised, attempt: int) -> JobFailure:
    """The stored form of an exception. The caller's text never holds the exception's own, except where the author chose it (`Failure`)."""
    code = error_code(raised)
    if is_caught_by(raised.error, StepFailed):
        return _step_failure(raised, attempt)
    if is_caught_by(raised.error, JobError, BlobsFull, BlobsUnavailable):
        detail = raised.detail or TITLES[code]
    elif is_caught_by(raised.error, ValidationFailed):
        return JobFailure(code, "The input does not fit the model that this worker has loaded.", attempt, debug=raised.text)
    else:
        detail = f"{TITLES[code]} ({raised.name})."
    return JobFailure(code=code, detail=detail, attempt=attempt, cause=raised.cause, debug=raised.text)


def _step_failure(raised: Raised, attempt: int) -> JobFailure:
    """A step has failed, and the code has not caught that."""
    held = object.__getattribute__(raised.error, "__dict__")  # without a call of the author's
    code, step, job_id = (plain_text(value) if isinstance(value := held.get(name), str) else None for name in ("code", "step", "job_id"))
    detail = f"{TITLES['step-failed']} ({': '.join(each for each in (step, code) if each)})."
    if code == "model-error" and raised.detail and not raised.detail.startswith(TITLES[code]):
        detail += f" {raised.detail}"  # the step's author has chosen it for callers (`Failure`)
    return JobFailure("step-failed", detail, attempt, debug=raised.text, step=step, job_id=job_id, step_code=code)


def is_retryable(error: BaseException, spec: ModelSpec) -> bool:
    """Whether the model's `Retry` covers the exception. A deliberate `Failure` is tried again only when `on` names it."""
    retry = spec.options.retry
    if retry is None or is_caught_by(error, ResultTooLarge, BadInput) or not retry.covers(error):
        return False
    deliberate = next((each for each in (Failure, ValidationFailed) if is_caught_by(error, each)), None)
    return deliberate is None or any(type.__subclasscheck__(deliberate, each) and is_caught_by(error, each) for each in retry.on)


def done_error(job_id: str, fence: Fence, raised: Raised, spec: ModelSpec, times: Times, *, how: str | None) -> Done:
    """The `done` entry of a job that raised; `how` the reason to stop was raised in it, if it was."""
    failure = failure_of(raised, attempt_of(fence))
    kind = "memory" if failure.code == "out-of-memory" else "error"
    return job_id, fence, kind, failure.to_json(), times, [is_retryable(raised.error, spec), raised.seconds, how]
