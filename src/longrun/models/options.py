"""What an author may set on a model: retries, batching, limits and placement. Checked when the model is defined."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_args, overload

from longrun.clock import MAX_DURATION
from longrun.errors import AuthoringError, Canceled, RetryAfter
from longrun.errors.catching import is_caught_by
from longrun.jobs.policy import Delivery

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
BATCHED_ATTRIBUTE = "__longrun_batched__"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Retry:
    """Which exceptions are worth another attempt, how many attempts there are, and how far apart.

    `Retry(4)` is four attempts in all: the first one and three more (Celery's `max_retries=3`).

    Args:
        attempts: attempts in all, at least 1.
        on: exception classes that are tried again; by default every `Exception`.
        never: exception classes that are not, though `on` covers them.
        backoff: seconds; the n-th wait is a random time up to `backoff * 2 ** (n - 1)`.
        max_delay: seconds; the longest wait.

    Raises:
        AuthoringError: a value is out of range or not an exception class.
    """

    attempts: int
    on: tuple[type[BaseException], ...] = field(default=(Exception,), kw_only=True)
    never: tuple[type[BaseException], ...] = field(default=(), kw_only=True)
    backoff: float = field(default=1.0, kw_only=True)
    max_delay: float = field(default=300.0, kw_only=True)

    def __post_init__(self) -> None:
        _whole("Retry: attempts", self.attempts, 1)
        _number("Retry: backoff", self.backoff, zero=True)
        _number("Retry: max_delay", self.max_delay, zero=True)
        object.__setattr__(self, "on", _exception_classes("on", self.on))
        object.__setattr__(self, "never", _exception_classes("never", self.never))

    def covers(self, error: BaseException) -> bool:
        """Whether an attempt that ended with `error` may be followed by another one: `except` with the same classes would catch it.

        `RetryAfter` asks for another attempt by itself, so it always counts; a cancellation never does.
        """
        if is_caught_by(error, RetryAfter):
            return True
        return is_caught_by(error, *self.on) and not is_caught_by(error, Canceled, *self.never)


@dataclass(frozen=True)
class Batched:
    """How many jobs `predict` takes at once.

    Args:
        max_size: most items in one call, at least 1.
        max_wait_ms: milliseconds an idle model waits for more items, from the first one.
        key: input fields that must be equal within a batch.

    Raises:
        AuthoringError: a value is out of range.
    """

    max_size: int
    max_wait_ms: float
    key: tuple[str, ...]

    def __post_init__(self) -> None:
        _whole("@batched: max_size", self.max_size, 1)
        _number("@batched: max_wait_ms", self.max_wait_ms, zero=True)
        if isinstance(self.key, str) or not isinstance(self.key, Iterable) or not all(isinstance(name, str) for name in self.key):
            raise AuthoringError(f"@batched: key names input fields, key=('language',); got {self.key!r}")
        object.__setattr__(self, "key", tuple(self.key))


@overload
def batched(predict: F, /) -> F: ...
@overload
def batched(*, max_size: int = 8, max_wait_ms: float = 10, key: Iterable[str] = ()) -> Callable[[F], F]: ...
def batched(predict: F | None = None, /, *, max_size: int = 8, max_wait_ms: float = 10, key: Iterable[str] = ()) -> F | Callable[[F], F]:
    """Let `predict` take several jobs in one call: a `list[BaseModel]` in, a list of the same length out.

    On a function it goes under `@model`. An exception object in the returned list fails that item alone.

    Args:
        max_size: most items in one call.
        max_wait_ms: milliseconds an idle model waits for more items, from the first one.
        key: input fields that must be equal within a batch.

    Raises:
        AuthoringError: a value is out of range, or the decorated thing is not a function.
    """
    setting = Batched(max_size, max_wait_ms, key)  # type: ignore[arg-type]  # Batched itself checks it and makes the tuple

    def mark(function: F) -> F:
        if isinstance(function, (staticmethod, classmethod)):
            raise AuthoringError(f"@batched: put it under @{type(function).__name__}, directly above `def`")
        if not callable(function) or isinstance(function, type):
            raise AuthoringError(f"@batched: it decorates `predict` or a function, not {function!r}")
        if hasattr(function, "__longrun__"):
            raise AuthoringError(f"@batched: put it under @model, directly above `def {function.__name__}`")
        setattr(function, BATCHED_ATTRIBUTE, setting)
        return function

    return mark if predict is None else mark(predict)


@dataclass(frozen=True)
class ModelOptions:
    """Everything that can be set on a model. Durations are seconds; None means no limit, or the operator's default.

    Raises:
        AuthoringError: a value is of the wrong type or out of range.
    """

    queue: str = "default"  #: which workers take it
    gpus: int = 0  #: devices each runner needs
    timeout: float = 600.0  #: running time of one attempt
    soft_timeout: float | None = None  #: running time after which the model gets `SoftTimeLimit`; None: when `timeout` is over
    total_timeout: float | None = None  #: from submit to end
    start_within: float | None = None  #: a job that has not started by then expires
    retry: Retry | None = None  #: None: an exception ends the job
    processes: int = 1  #: runners of the model for each worker
    concurrency: int | None = None  #: jobs a runner works on at once; None: sync 1, async 100
    threads: int | None = None  #: threads that libraries compute with in a runner; None: the cores, divided by the model's runners
    main_thread: bool = False  #: of sync code: a runner of its own, on whose main thread it is loaded and its jobs run one by one
    delivery: Delivery = "at_least_once"  #: at_most_once: never run again once it has started and its worker died
    max_crashes: int | None = None  #: dead runners or workers before the job fails
    max_jobs_per_runner: int | None = None  #: a runner is replaced after so many jobs
    max_memory: int | None = None  #: bytes; a runner that holds more when a job has ended is replaced
    load_timeout: float = 1800.0  #: a runner that has not loaded by then is replaced
    retain_for: float | None = None  #: how long a finished job is kept
    max_depth: int = 10  #: of its steps: children below each other
    max_tree: int = 1000  #: of its steps: jobs below one of its own; at most `LONGRUN_MAX_TREE` counts
    budget: Mapping[str, float] | None = None  #: most that all jobs below one of its own may use, by name of `usage`; then no step is made

    def __post_init__(self) -> None:
        if not isinstance(self.queue, str) or not NAME.fullmatch(self.queue):
            raise AuthoringError(f"queue: {self.queue!r} is not a queue name; use a-z, 0-9, _ and -, at most 64, such as 'gpu'")
        if self.delivery not in get_args(Delivery):
            raise AuthoringError(f"delivery: {self.delivery!r} is neither 'at_least_once' nor 'at_most_once'")
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise AuthoringError(f"retry: write retry=Retry(4), or leave it out; got {self.retry!r}")
        _whole("gpus", self.gpus, 0)
        _whole("processes", self.processes, 1)
        _whole("max_depth", self.max_depth, 1)
        _whole("max_tree", self.max_tree, 1)
        object.__setattr__(self, "budget", _budget(self.budget))
        for name in ("concurrency", "threads", "max_crashes", "max_jobs_per_runner", "max_memory"):
            if (value := getattr(self, name)) is not None:
                _whole(name, value, 1)
        if not isinstance(self.main_thread, bool):
            raise AuthoringError(f"main_thread is True or False; got {self.main_thread!r}")
        if self.main_thread and self.concurrency not in (None, 1):
            raise AuthoringError(
                f"main_thread: there is one main thread, so leave concurrency={self.concurrency} out, or give it processes="
            )
        _number("timeout", self.timeout)
        _number("load_timeout", self.load_timeout)
        for name in ("soft_timeout", "total_timeout", "start_within", "retain_for"):
            if (value := getattr(self, name)) is not None:
                _number(name, value, zero=name == "retain_for")
        if self.soft_timeout is not None and self.soft_timeout > self.timeout:
            raise AuthoringError(f"soft_timeout ({self.soft_timeout:g} s) is longer than timeout ({self.timeout:g} s)")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ModelOptions:
        """The options from the keywords that an author wrote.

        Raises:
            AuthoringError: an option does not exist (the message names the nearest one) or has a wrong value.
        """
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, [*known, "name"], n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: name, {', '.join(known)}"
                raise AuthoringError(f"{name} is not an option; {hint}")
        return cls(**given)


def _whole(what: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise AuthoringError(f"{what} is a whole number, at least {least}; got {value!r}")


def _number(what: str, value: object, *, zero: bool = False) -> None:
    """Finite, positive and no longer than ten years; also 0 with `zero`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise AuthoringError(f"{what} is a number {'of at least' if zero else 'over'} 0; got {value!r}")
    if value > MAX_DURATION:
        raise AuthoringError(f"{what} is {MAX_DURATION:.0f} (ten years of seconds) at most; got {value!r}")


def _budget(given: object) -> Mapping[str, float] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or not given or not all(isinstance(name, str) and name for name in given):
        raise AuthoringError(f'budget: write what may be used by its name in `job.usage`, budget={{"cost_usd": 2}}; got {given!r}')
    for name, most in given.items():
        if isinstance(most, bool) or not isinstance(most, int | float) or not math.isfinite(most) or most <= 0:
            raise AuthoringError(f"budget: {name} is a number over 0; got {most!r}")
    return {name: float(most) for name, most in given.items()}


def _exception_classes(what: str, given: object) -> tuple[type[BaseException], ...]:
    if not isinstance(given, Iterable):
        raise AuthoringError(f"Retry: {what} is a tuple of exception classes, {what}=(OSError,); got {given!r}")
    classes = tuple(given)
    for each in classes:
        if not isinstance(each, type) or not issubclass(each, BaseException):
            raise AuthoringError(f"Retry: {what} holds exception classes, {what}=(OSError,); got {each!r}")
    return classes
