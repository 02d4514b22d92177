"""One job in a runner: its handle, and how it is told to stop."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from longrun.errors import Canceled, SoftTimeLimit
from longrun.models import Job
from longrun.worker.runner.pipe import Pipe

Raw = tuple[str, int, bytes]
Key = tuple[str, int]


class Running:
    """One job in a runner.

    Attributes:
        key: id and attempt. An attempt that was given up may still be here when the next one comes.
        kind: why it was told to stop; `reason` is a class of its own for that, which notes that it was raised.
        raised: how the reason was raised in the job's code: `flag` (by `job.*` or at a `yield`) or `exception`; empty = not yet.
        softened: it was told, in its own code, that its time is over: what it returns is what it had by then.
        interrupted: an exception is on its way into its code.
        group: those that share its call of `predict`, itself included.
        inside: its call of an async `predict` waits or runs.
    """

    __slots__ = (
        "_pipe",
        "attempt",
        "group",
        "id",
        "input",
        "inside",
        "interrupted",
        "key",
        "kind",
        "raised",
        "reason",
        "softened",
        "totals",
    )

    def __init__(self, raw: Raw, pipe: Pipe) -> None:
        self.id, self.attempt, self.input = raw
        self.key: Key = self.id, self.attempt
        self._pipe = pipe
        self.group: list[Running] = [self]
        self.kind: type[Canceled] | None = None
        self.reason: type[Canceled] | None = None
        self.raised = ""
        self.softened = self.interrupted = self.inside = False
        self.totals: dict[str, float] = {}

    def tell(self, kind: type[Canceled], *, is_async: bool) -> None:
        """It is to stop. Told again for another reason, that one counts."""
        if self.kind is not kind:
            self.raised, self.interrupted = "", False
            self.kind, self.reason = kind, _reason(self, kind, is_async=is_async)

    def stop(self) -> Canceled:
        """The reason, to be raised at a place where the job looks at its flag."""
        assert self.reason is not None
        return self.reason(f"{self.id} was told to stop")

    def was_told(self, how: str) -> None:
        """The reason was raised in the code that the group shares."""
        for each in self.group:
            if each.reason is not None and each.kind is not None:
                each.raised = each.raised or how
                if issubclass(each.kind, SoftTimeLimit):
                    each.softened = each.reason.told = True

    @property
    def unwanted(self) -> bool:
        """Whether all that share its call were told to stop."""
        return all(each.reason is not None for each in self.group)

    def emit(self, kind: str, data: dict[str, Any]) -> None:
        """Send an event; usage is summed up here and travels with the outcome."""
        if kind == "usage":
            for name, value in data.items():
                self.totals[name] = self.totals.get(name, 0) + value
            return
        self.emit_raw(kind, orjson.dumps(data))

    def emit_raw(self, kind: str, data: bytes) -> None:
        """Send an event whose data is JSON already."""
        self._pipe.send("events", self.id, self.attempt, [(kind, data)])

    def handle(self, model: str) -> Job:
        """What the model gets as `job`."""
        return Job(id=self.id, model=model, attempt=self.attempt, emit=self.emit, canceled=lambda: self.reason)

    def warn(self, warnings: list[str]) -> None:
        """Tell callers that the output was altered to fit JSON."""
        for warning in warnings:
            self.emit("log", {"level": "warning", "message": warning})


def _reason(running: Running, kind: type[Canceled], *, is_async: bool) -> type[Canceled]:
    """A subclass of `kind` for this job that notes when it is raised: with a text by `job.*` and at a `yield`, without one by an interrupt.

    Async code knows its cancellation as `asyncio.CancelledError`, and what is built on that (task groups, timeouts) must see one.
    """

    def note(self: BaseException, *texts: str) -> None:
        BaseException.__init__(self, *(texts or (f"{running.id} was told to stop",)))
        running.was_told("flag" if texts else "exception")

    bases = (kind, asyncio.CancelledError) if is_async else (kind,)
    return type(kind.__name__, bases, {"__init__": note, "__module__": kind.__module__, "__doc__": kind.__doc__})
