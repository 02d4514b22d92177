"""One job in a runner: its handle, what it says, and how it is told to stop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from longrun.errors import Canceled, SoftTimeLimit
from longrun.models import Job
from longrun.worker.runner.files import JobFiles
from longrun.worker.runner.flow import Flow
from longrun.worker.runner.lines import Lines, readable
from longrun.worker.runner.reports import Reports, to_json

#: Integers up to this are the same in every reader of JSON.
_EXACT = 2**53
#: Id, attempt, input (JSON or a reference), and the files of the input (JSON, empty = none).
Raw = tuple[str, int, bytes, bytes]
Key = tuple[str, int]


class Running:
    """One job in a runner.

    Attributes:
        key: id and attempt. An attempt that was given up may still be here when the next one comes.
        once: its code must not be run a second time.
        kind: why it was told to stop; `reason` is a class of its own for that, which notes that it was raised.
        raised: how the reason was raised in the job's code: `flag` (by `job.*` or at a `yield`) or `exception`; empty = not yet.
        softened: it was told, in its own code, that its time is over: what it returns is what it had by then.
        interrupted: an exception is on its way into its code.
        group: those that share its call of `predict`, itself included.
        inside: its call of an async `predict` waits or runs.
        events: not yet sent; `size` is that of their data, `sent` when some were sent, in monotonic time.
        closed: its code has ended, and what is said in its name no longer counts.
    """

    __slots__ = (
        "_files",
        "_flow",
        "_lines",
        "_reports",
        "attempt",
        "closed",
        "events",
        "group",
        "id",
        "input",
        "input_files",
        "inside",
        "interrupted",
        "key",
        "kind",
        "once",
        "raised",
        "reason",
        "sent",
        "size",
        "softened",
        "totals",
    )

    def __init__(self, raw: Raw, reports: Reports, *, once: bool = False) -> None:
        self.id, self.attempt, self.input, self.input_files = raw
        self.key: Key = self.id, self.attempt
        self.once = once
        self._reports = reports
        self._files: JobFiles | None = None
        self.group: list[Running] = [self]
        self.kind: type[Canceled] | None = None
        self.reason: type[Canceled] | None = None
        self.raised = ""
        self.softened = self.interrupted = self.inside = self.closed = False
        self.totals: dict[str, float] = {}
        self.events: list[tuple[str, bytes | dict[str, Any]]] = []
        self.size, self.sent = 0, 0.0
        self._flow: Flow | None = None
        self._lines: dict[int, Lines] | None = None

    @property
    def files(self) -> JobFiles:
        """Reaches and stores files in the name of this attempt."""
        if self._files is None:
            self._files = JobFiles(self._reports.keeper, self.id, self.attempt, self.emit_raw, self.heed)
        return self._files

    def tell(self, kind: type[Canceled], *, is_async: bool) -> None:
        """It is to stop. Told again for another reason, that one counts."""
        if self.kind is not kind:
            self.raised, self.interrupted = "", False
            self.kind, self.reason = kind, _reason(self, kind, is_async=is_async)

    def stop(self) -> Canceled:
        """The reason, to be raised at a place where the job looks at its flag."""
        assert self.reason is not None
        return self.reason(f"{self.id} was told to stop")

    def heed(self, stuck: bool) -> None:
        """While files are read and stored: raise the reason, unless it was raised before; what came after that is the work's own end.

        When its time is over, what goes on well is given the grace that the worker gives, and may be done by then. `stuck`: it does not.
        """
        if self.kind is not None and not self.raised and (stuck or self.kind is not SoftTimeLimit):
            raise self.stop()

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

    # -- what it says -----------------------------------------------------------------------------------------------------

    def emit(self, kind: str, data: dict[str, Any]) -> None:
        """Send an event of `job.*`. Usage is summed up here; the worker keeps what was told last."""
        with self._reports.capture.lock:
            self._reports.capture.drain()
            if kind == "log":
                self.say(data["level"], data["message"])
            elif kind == "usage":
                for name, value in data.items():
                    total = self.totals.get(name, 0) + value
                    # Sums that JSON's readers would not keep exact are not exact here either.
                    self.totals[name] = total if abs(total) <= _EXACT else float(total)
                self._reports.add(self, "usage", dict(self.totals))
            else:
                self._reports.add(self, kind, data)

    def emit_raw(self, kind: str, data: bytes) -> None:
        """Send an event whose data is JSON already."""
        with self._reports.capture.lock:
            self._reports.capture.drain()
            self._reports.add(self, kind, data)

    def say(self, level: str, message: str) -> None:
        """A line for the caller, unless there are too many of them."""
        with self._reports.capture.lock:
            now = time.monotonic()
            flow = self._flow = self._flow or Flow(now)
            if not flow.lets_through(now):
                return
            self._tell_left_out()
            self._reports.add(self, "log", to_json({"level": level, "message": readable(message)}))

    def hear(self, source: int, data: bytes) -> None:
        """Its code has written this; `source` tells streams apart, each of which has lines of its own."""
        lines = self._lines = self._lines or {}
        for line in lines.setdefault(source, Lines()).feed(data):
            self.say("info", line)

    def _tell_left_out(self) -> None:
        notice = self._flow.notice() if self._flow is not None else ""
        if notice:
            self._reports.add(self, "log", to_json({"level": "warning", "message": notice}))

    def close(self) -> None:
        """Its code has ended: send all that it has said until now, and hear no more of it."""
        if self.closed:
            return
        with self._reports.capture.lock:
            self._reports.capture.leave(self)
            for lines in (self._lines or {}).values():
                rest = lines.rest()
                if rest:
                    self.say("info", rest)
            self._tell_left_out()
            self._reports.flush(self)
            self.closed = True
        if self._files is not None:
            self._files.close()

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
