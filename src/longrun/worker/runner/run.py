"""One run: one attempt of a job in this runner, what it says to its worker, and how it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, NoReturn, Protocol

import orjson

from longrun.errors import Canceled, LetGo, SoftTimeLimit
from longrun.jobs.fence import Fence, attempt_of
from longrun.models import Job
from longrun.models.steps.port import Port
from longrun.worker.runner.children import check_not_forked
from longrun.worker.runner.context import GATHER, Context
from longrun.worker.runner.exception_text import class_name, plain_text
from longrun.worker.runner.job_files import JobFiles
from longrun.worker.runner.lines import Flow as LineFlow
from longrun.worker.runner.lines import Lines, readable, shortened
from longrun.worker.runner.raising import shielded

#: Integers up to this are the same in every reader of JSON.
_EXACT = 2**53
#: Most events of a frame, and bytes of outputs in it: at that size it goes at once.
_MOST, _LARGE = 500, 1 << 18
#: What can be kept as it is until it is sent.
_PLAIN = (str, int, float, bool, type(None))
#: Kinds of which only the latest matters when nothing came in between.
_LATEST = ("progress", "usage")
#: Kinds that are not said again by code that repeats what it has done before.
_SILENCED = ("progress", "usage", "log")
#: Of its steps, where there is something to know: epoch, epoch of the last retry by a caller, origin, whether there is a journal, whether
#: it is a child.
Flow = Sequence[Any] | None
#: Id, fence, input (JSON or a reference), the files of the input (JSON, empty = none), whether its code must not run twice; and its `flow`,
#: which may be left out.
Raw = Sequence[Any]
_WITH_FLOW, _ORIGIN, _IS_CHILD = 6, 2, 4
Key = tuple[str, Fence]
#: Seconds that it has taken up its place, when its code was first entered, and seconds in its code; None, None = it was not entered.
Times = tuple[float, float | None, float | None]


class AnySteps(Protocol):
    """What a run knows of its steps."""

    @property
    def silent(self) -> bool:
        """What its code reports now is not to be heard."""

    async def finish(self) -> None:
        """Its code has returned."""

    def end(self, *, failed: bool) -> None:
        """Its code has ended."""


class Run:
    """One attempt of a job.

    Args:
        raw: as it came from the worker.
        context: what it shares with others.

    Attributes:
        key: id and fence. A run that was given up may still be here when the next one of the job comes.
        group: those that share its call of `predict`, itself included.
        kind: why it is to stop; `reason` is a class of its own for that, which notes that it was raised.
        raised: how the reason was raised in the job's code: `flag` (by `job.*` or at a `yield`) or `exception`; empty = not yet.
        partial: its code got the soft time limit, so what it returns is what it had by then.
        interrupted: an exception is on its way into its code.
        taken, ended: when its input was begun to be read and, with a batch, when the model had returned, in monotonic time.
        begun: when its code was first entered; None = not yet. `run_s`: seconds in its code so far, without the visit that goes on.
        inside: its call of an async `predict` waits or runs.
        closed: its code has ended, and what is said in its name no longer counts.
        steps: what it asks of the worker; None = nothing so far.
    """

    flow: Flow = None
    steps: AnySteps | None = None
    _new_port: Callable[[Run], Port] | None = None

    def __init__(self, raw: Raw, context: Context) -> None:
        self.id, self.fence, self.input, self.input_files, self.once = raw[:5]
        if len(raw) == _WITH_FLOW:
            self.flow = raw[5]
        self.key: Key = self.id, self.fence
        self._context = context
        self.group: list[Run] = [self]
        self.kind: type[Canceled] | None = None
        self.reason: type[Canceled] | None = None
        self.raised = ""
        self.taken = self.ended = self.run_s = 0.0
        self.begun: float | None = None
        self._entered, self._entry = 0.0, 0
        self.partial = self.interrupted = self.inside = self.closed = False
        # Events that are not sent yet, the size of their data, and when some were sent, in monotonic time.
        self._events: list[tuple[str, bytes | dict[str, Any]]] = []
        self._size, self._sent = 0, 0.0
        self._files: JobFiles | None = None
        self._usage: dict[str, float] | None = None
        self._line_flow: LineFlow | None = None
        self._lines: dict[int, Lines] | None = None

    @property
    def times(self) -> Times:
        """See `worker.frames`."""
        held = (self.ended or monotonic()) - self.taken
        return held, self.begun, None if self.begun is None else self.run_s

    def enter_code(self, now: float) -> None:
        """The model's code is called, or goes on after a `yield`."""
        self._entered = now
        if self.begun is None:
            self.begun, self._entry = now, self._context.times.begin(self.id, self.fence, now)
        else:
            self._context.times.enter(self._entry, now)

    def leave_code(self, now: float) -> None:
        """It has returned, raised or yielded."""
        self.run_s += now - self._entered
        self._context.times.leave(self._entry, self.run_s)

    @property
    def files(self) -> JobFiles:
        """Reads and stores files in the name of this run."""
        if self._files is None:
            self._files = JobFiles(self._context.blobs, self.id, self.fence, self.emit, self.check)
        return self._files

    def handle(self, model: str, port: Callable[[Run], Port] | None = None) -> Job:
        """What the model gets as `job`; `port`: what its steps are run with."""
        self._new_port = port
        key = self.flow[_ORIGIN] if self.flow is not None and self.flow[_IS_CHILD] else ""
        return Job(
            id=self.id,
            model=model,
            attempt=attempt_of(self.fence),
            emit=self.emit,
            canceled=self._asked_to_stop,
            idempotency_key=key,
            port=self._port if port is not None else None,
        )

    def _port(self) -> Port:
        # A method of the run's, as all that a handle holds: who copies or pickles it meets the run.
        assert self._new_port is not None
        return self._new_port(self)

    def _asked_to_stop(self) -> type[Canceled] | None:
        check_not_forked()
        return self.reason

    def __deepcopy__(self, _: object) -> Run:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the Job of {self.id} cannot be sent to another process, where it has no connection to its worker:"
            " send what that process needs, and report from the process that runs the job"
        )

    # -- how it is stopped ------------------------------------------------------------------------------------------------

    def request_stop(self, kind: type[Canceled], *, is_async: bool) -> None:
        """It is to stop. When there was another reason before, the new one counts."""
        if self.kind is not kind:
            self.raised, self.interrupted = "", False
            self.kind, self.reason = kind, _reason(self, kind, is_async=is_async)

    @property
    def unwanted(self) -> bool:
        """Whether its call is to be interrupted: all that share it are to stop, and the reason was not raised there yet."""
        return all(each.reason is not None and not each.raised and not each.interrupted for each in self.group)

    def stop_error(self) -> Canceled:
        """The reason, to be raised at a place where the job looks at its flag."""
        assert self.reason is not None
        return self.reason(f"{self.id} was asked to stop")

    @property
    def is_let_go(self) -> bool:
        """It was to give up its place, and its code has got word of that: what it does since then does not count."""
        return self.kind is LetGo and bool(self.raised)

    def check(self, stuck: bool) -> None:
        """While files are read and stored: raise the reason, unless it was raised before; what came after that is the work's own end.

        When its time is over, what goes on well is given the grace that the worker gives, and may be done by then. `stuck`: it does not.
        """
        if self.kind is not None and not self.raised and (stuck or self.kind is not SoftTimeLimit):
            raise self.stop_error()

    def error_at_yield(self) -> Canceled | None:
        """What is to be raised at the `yield` that a generator stands at, so that it can end in its own way.

        Raises:
            Canceled: that was done before, and it goes on yielding.
        """
        if self.reason is None:
            return None
        if not self.raised:
            return self.stop_error()
        if self.kind is not SoftTimeLimit:
            raise self.stop_error()
        return None

    def stop_was_raised(self, how: str) -> None:
        """The reason was raised in the code that the group shares."""
        for each in self.group:
            if each.reason is not None and each.kind is not None:
                each.raised = each.raised or how
                if issubclass(each.kind, SoftTimeLimit):
                    each.partial = each.reason.raised = True

    # -- what it says -----------------------------------------------------------------------------------------------------

    @shielded
    def emit(self, kind: str, data: bytes | dict[str, Any]) -> None:
        """Send an event; bytes are JSON already. Usage is summed up here; the worker keeps what came last.

        Raises:
            LongrunError: this is a forked child.
        """
        check_not_forked()
        if self.steps is not None and self.steps.silent and kind in _SILENCED:
            return
        if isinstance(data, dict) and not all(type(value) in _PLAIN for value in data.values()):
            # What an author's objects say of themselves is asked here, in the author's own call: under the lock others would wait for it.
            data = orjson.loads(_to_json(data))
        with self._context.capture.lock:
            self._context.capture.drain()
            if isinstance(data, bytes):
                self._add(kind, data)
            elif kind == "log":
                self.log(data["level"], data["message"])
            elif kind == "usage":
                usage = self._usage = self._usage or {}
                for name, value in data.items():
                    total = usage.get(name, 0) + value
                    # Sums that JSON's readers would not keep exact are not exact here either.
                    usage[name] = total if abs(total) <= _EXACT else float(total)
                self._add("usage", dict(usage))
            else:
                self._add(kind, data)

    @shielded
    def log(self, level: str, message: str) -> None:
        """A line for the caller, unless there are too many of them."""
        text = readable(shortened(message))
        with self._context.capture.lock:
            now = monotonic()
            flow = self._line_flow = self._line_flow or LineFlow(now)
            if flow.lets_through(now):
                self._log_left_out(flow)
                self._add("log", orjson.dumps({"level": level, "message": text}))

    def _log_left_out(self, flow: LineFlow) -> None:
        notice = flow.notice()
        if notice:
            self._add("log", _to_json({"level": "warning", "message": notice}))

    def written(self, source: int, data: bytes) -> None:
        """Its code has written this; `source` tells streams apart, each of which has lines of its own."""
        if self.steps is not None and self.steps.silent:
            return
        lines = self._lines = self._lines or {}
        for line in lines.setdefault(source, Lines()).feed(data):
            self.log("info", line)

    def _add(self, kind: str, data: bytes | dict[str, Any]) -> None:
        """Under the lock. What comes after the end counts for nothing."""
        if self.closed:
            return
        events = self._events
        if kind in _LATEST and events and events[-1][0] == kind:
            events[-1] = (kind, data)
        else:
            events.append((kind, data))
            self._size += len(data)
        if monotonic() - self._sent >= GATHER or len(events) >= _MOST or self._size >= _LARGE:
            self.flush()
        else:
            self._context.flush_soon(self)

    def flush(self) -> None:
        """Send the events that wait; under the lock."""
        if self._events:
            events, self._events, self._size = self._events, [], 0
            self._sent = monotonic()
            packed = [(kind, data if isinstance(data, bytes) else _to_json(data)) for kind, data in events]
            self._context.send("events", self.id, self.fence, packed)

    def close(self) -> None:
        """Its code has ended: send all that it has said until now, and nothing after that."""
        if self.closed:
            return
        with self._context.capture.lock:
            self._context.capture.leave(self)
            if self._lines:
                for lines in self._lines.values():
                    rest = lines.rest()
                    if rest:
                        self.log("info", rest)
            if self._line_flow is not None:
                self._log_left_out(self._line_flow)
            if self._events:
                self.flush()
            self.closed = True
        self._context.times.release(self._entry)
        if self._files is not None:
            self._files.close()


def _reason(run: Run, kind: type[Canceled], *, is_async: bool) -> type[Canceled]:
    """A subclass of `kind` for this job that notes when it is raised: with a text by `job.*` and at a `yield`, without one by an interrupt.

    Async code knows its cancellation as `asyncio.CancelledError`, and what is built on that (task groups, timeouts) must see one.
    """

    def note(self: BaseException, *texts: str) -> None:
        BaseException.__init__(self, *(texts or (f"{run.id} was asked to stop",)))
        run.stop_was_raised("flag" if texts else "exception")

    bases = (kind, asyncio.CancelledError) if is_async else (kind,)
    return type(kind.__name__, bases, {"__init__": note, "__module__": kind.__module__, "__doc__": kind.__doc__})


def _to_json(data: dict[str, Any]) -> bytes:
    """The data of an event. What a model says about its work must never end the work: text that is too long or no Unicode is altered."""
    short = {name: shortened(plain_text(value)) if issubclass(type(value), str) else value for name, value in data.items()}
    try:
        return orjson.dumps(short)
    except TypeError:
        return orjson.dumps({name: value if _is_number(value) else _text(value) for name, value in short.items()})


def _is_number(value: object) -> bool:
    """Whether JSON can hold it as it is; or None."""
    return value.bit_length() < 64 if type(value) is int else type(value) in (float, bool, type(None))


def _text(value: object) -> str:
    try:
        return readable(shortened(plain_text(str(value))))
    except Exception as error:
        return f"({class_name(type(value))}: its text could not be made, {class_name(type(error))} was raised)"
