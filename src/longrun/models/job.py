"""The handle through which a model talks about the job it is working on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from longrun.errors import Canceled
from longrun.models.handle import Handle
from longrun.models.steps.job_steps import JobSteps
from longrun.models.steps.local import LocalPort, is_awaited
from longrun.models.steps.local_models import LocalTree
from longrun.models.steps.port import Port
from longrun.models.steps.start import Start

#: Most that can be reported as used in one go.
_LARGEST = 10**15
#: Names under which an attempt may report, and characters of each: the store adds them up at each end of an attempt.
_MOST_NAMES, _LONGEST_NAME = 64, 64
LEVELS = ("debug", "info", "warning", "error")


class Job(JobSteps, Handle):
    """The running job, as the model sees it. A bare `Job()` works without a server, for tests and scripts: steps run in place.

    A parameter of `predict` that is annotated `Job` or `Job | None` receives it; it is never part of the input.
    Every report (`progress`, `log`, `usage`) is also the place where a model that was asked to stop does stop: it raises `Canceled`.

    Args:
        id: the job's id.
        model: name of the model.
        attempt: which claim of the job this is, from 1; never reused.
        emit: takes each report as (type, data); None keeps nothing but `last_progress`.
        canceled: says whether the job was asked to stop: the exception class to raise, or None.
        idempotency_key: see the property; empty: the id.
        port: gives what its steps are run with, when it is first needed; None: they run in place.
        signals: what `wait_for` gives there, by name; TimeoutError for one that nobody answers.
        sleeps: whether `sleep` takes time there.
    """

    def __init__(
        self,
        *,
        id: str = "job_local",
        model: str = "",
        attempt: int = 1,
        emit: Callable[[str, dict[str, Any]], None] | None = None,
        canceled: Callable[[], type[Canceled] | None] | None = None,
        idempotency_key: str = "",
        port: Callable[[], Port] | None = None,
        signals: Mapping[str, Any] | None = None,
        sleeps: bool = False,
    ) -> None:
        self.id = id
        self.model = model
        self.attempt = attempt
        self.last_progress: dict[str, Any] | None = None  #: the data of the latest `progress`
        self._names: set[str] = set()
        self._emit = emit
        self._canceled = canceled
        self._key = idempotency_key
        self._port: Port | None = None
        self._new_port = port
        self._local = signals or {}, sleeps

    def __repr__(self) -> str:
        return f"Job(id={self.id!r}, model={self.model!r}, attempt={self.attempt})"

    @property
    def idempotency_key(self) -> str:
        """A key for upstream services, the same in every attempt of the job: they then never do the work twice.

        Of a step it derives from the first job of its parent's chain of retries, so it is the same in those too.
        """
        return self._key or self.id

    def progress(self, fraction: float, step: str | None = None, message: str | None = None) -> None:
        """Say how far the job is.

        Args:
            fraction: 0 to 1; what lies outside is moved to the nearer end.
            step: the part of the work that is running, such as "decoding".
            message: free text for the caller.

        Raises:
            ValueError: `fraction` is NaN.
            Canceled: the job was asked to stop.
        """
        number = float(fraction)
        if math.isnan(number):
            raise ValueError("job.progress: fraction is NaN; give a number from 0 to 1")
        self.last_progress = {"fraction": min(1.0, max(0.0, number)), "step": step, "message": message}
        self._report("progress", dict(self.last_progress))

    def log(self, message: str, level: str = "info") -> None:
        """Leave a line in the job's events, which the caller can read.

        Args:
            message: the text; what is over 8,192 characters is left out, with a mark.
            level: debug, info, warning or error.

        Raises:
            ValueError: `level` is none of these.
            Canceled: the job was asked to stop.
        """
        if level not in LEVELS:
            raise ValueError(f"job.log: level {level!r} is none of {', '.join(LEVELS)}")
        self._report("log", {"level": level, "message": str(message)})

    def usage(self, **numbers: float) -> None:
        """Say what the job used, such as `tokens=120` or `cost_usd=0.002`; shown with the job, whatever becomes of it.

        What is reported again adds up, over all attempts: a failed one has cost something too.

        Args:
            numbers: finite numbers by name, from -1e15 to 1e15.

        Raises:
            ValueError: a value is no such number; there are over 64 names in one attempt, or one has over 64 characters.
            Canceled: the job was asked to stop.
        """
        used = {str.__str__(name): _number(name, value) for name, value in numbers.items()}
        names = self._names | used.keys()
        if len(names) > _MOST_NAMES or any(len(name) > _LONGEST_NAME for name in used):
            raise ValueError(f"job.usage: a job reports under {_MOST_NAMES} names at most, of {_LONGEST_NAME} characters at most")
        self._names = names
        self._report("usage", used)

    @property
    def canceled(self) -> bool:
        """Whether the job was asked to stop (by its caller, or because its time is over)."""
        return self._canceled is not None and self._canceled() is not None

    def check(self) -> None:
        """Stop here if the job was asked to stop; call it in long loops that report nothing.

        Raises:
            Canceled: the caller canceled the job.
            SoftTimeLimit: the job's `soft_timeout` (or `timeout`) is over. Only once, so that the model can end in peace.
        """
        reason = self._canceled() if self._canceled is not None else None
        if reason is not None and not reason.raised:
            raise reason(f"{self.id} was asked to stop")

    def _steps(self) -> Port:
        """What its steps are run with. Raises StepRefused: steps do not work here."""
        if self._port is None:
            self._port = self._new_port() if self._new_port is not None else self._in_place()
        return self._port

    def _in_place(self) -> Port:
        signals, sleeps = self._local
        tree = LocalTree(_child, signals, sleeps, lambda text: self.log(text, "warning"))
        return LocalPort(tree, Start(self.id, self.model), is_async=is_awaited())

    def _report(self, kind: str, data: dict[str, Any]) -> None:
        if self._emit is not None:
            self._emit(kind, data)
        self.check()


def _child(job_id: str, model: str, attempt: int, port: Port, used: dict[str, float]) -> Job:
    """The job of a step that runs in place; what it uses is added to `used`."""

    def emit(kind: str, data: dict[str, Any]) -> None:
        for name, value in data.items() if kind == "usage" else ():
            used[name] = used.get(name, 0.0) + value

    return Job(id=job_id, model=model, attempt=attempt, emit=emit, idempotency_key=port.flow.start.origin, port=lambda: port)


def _number(name: str, value: float) -> float:
    """The same number, and not one of a class of an author's (or NumPy's), which JSON may not hold."""
    kind = type(value)
    if issubclass(kind, (int, float)) and kind is not bool:
        number: float = int.__int__(value) if isinstance(value, int) else float.__float__(value)
        if abs(number) <= _LARGEST:
            return number
    raise ValueError(f"job.usage: {name} must be a finite number, 1e15 at most; got {value!r}")
