"""From what a model returned, yielded or raised to what the worker gets: pure."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Sequence
from typing import Any

from longrun.errors import (
    BadInput,
    BlobsFull,
    BlobsUnavailable,
    Failure,
    InvalidOutput,
    JobError,
    ResultTooLarge,
    RetryAfter,
    ValidationFailed,
)
from longrun.jobs.failure import TITLES, JobFailure
from longrun.models import ModelSpec
from longrun.worker.runner.hints import main_thread_hint
from longrun.worker.runner.memory import is_out_of_memory
from longrun.worker.runner.run import Times

#: An outcome, as it stands in a frame: id, attempt, kind, data, times, and what `worker.frames` says of the last two.
Done = tuple[str, int, str, bytes, Times, Any]
#: Values that a generator may yield: each is an event of its own, whatever its size.
_MOST = 1_000_000


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
    if isinstance(returned, list | tuple) and len(returned) == size:
        return returned
    got = f"{len(returned)} items" if isinstance(returned, list | tuple) else type(returned).__name__
    return [InvalidOutput(f"A batch of {size} must return a list of {size}; the model returned {got}.") for _ in range(size)]


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
    debug = "".join(traceback.format_exception(error))
    if threading.current_thread() is not threading.main_thread():
        debug += main_thread_hint(debug)
    return JobFailure(code=code, detail=detail, attempt=attempt, cause=cause, debug=debug)


def is_retryable(error: BaseException, spec: ModelSpec) -> bool:
    """Whether the model's `Retry` covers the exception. A deliberate `Failure` is tried again only when `on` names it."""
    retry = spec.options.retry
    if retry is None or isinstance(error, ResultTooLarge | BadInput) or not retry.covers(error):
        return False
    deliberate = Failure if isinstance(error, Failure) else ValidationFailed if isinstance(error, ValidationFailed) else None
    return deliberate is None or any(issubclass(each, deliberate) and isinstance(error, each) for each in retry.on)


def done_error(job_id: str, attempt: int, error: BaseException, spec: ModelSpec, times: Times, *, how: str | None) -> Done:
    """The `done` entry of a job that raised; `how` the reason to stop was raised in it, if it was."""
    asked = error.seconds if isinstance(error, RetryAfter) else None
    failure = failure_of(error, attempt)
    kind = "memory" if failure.code == "out-of-memory" else "error"
    return job_id, attempt, kind, failure.to_json(), times, [is_retryable(error, spec), asked, how]
