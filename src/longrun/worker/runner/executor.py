"""What sync and async executors share: the running job, and the way from a returned or raised value to the worker."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import orjson
import structlog

from longrun.errors import Canceled, InvalidOutput
from longrun.models import Job, ModelSpec
from longrun.worker.runner.outcome import Done, done_error
from longrun.worker.runner.pipe import Pipe

log = structlog.get_logger("longrun.runner")
Raw = tuple[str, int, bytes]


class Executor(Protocol):
    """Runs jobs of one model."""

    def put(self, jobs: list[Raw], *, batch: bool) -> None:
        """Take jobs; called by the pipe's thread."""

    def cancel(self, ids: list[str], reason: type[Canceled]) -> None:
        """Stop those of `ids` that are here; called by the pipe's thread."""


class Running:
    """One job in a runner: its handle, and whether it was told to stop."""

    __slots__ = ("_pipe", "attempt", "id", "input", "reason", "totals")

    def __init__(self, raw: Raw, pipe: Pipe) -> None:
        self.id, self.attempt, self.input = raw
        self._pipe = pipe
        self.reason: type[Canceled] | None = None
        self.totals: dict[str, float] = {}

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


class Base:
    def __init__(self, spec: ModelSpec, instance: Any, pipe: Pipe) -> None:
        self.spec, self.instance, self.pipe = spec, instance, pipe
        self.jobs: dict[str, Running] = {}

    def parse(self, running: Running) -> Any:
        return self.spec.input.parse(orjson.loads(running.input))

    def ok(self, running: Running, output: bytes, run_s: float) -> Done:
        usage = orjson.dumps(running.totals) if running.totals else b""
        return running.id, running.attempt, "ok", output, run_s, usage

    def encode(self, running: Running, value: Any) -> bytes:
        encoded = self.spec.output.encode(value)
        running.warn(encoded.warnings)
        return encoded.data

    def item(self, running: Running, value: Any, items: list[bytes]) -> None:
        """One yielded value: an event, and a part of the output. Also a point where a told-to-stop job stops."""
        encoded = self.spec.output.encode_item(value)
        running.warn(encoded.warnings)
        items.append(encoded.data)
        running.emit_raw("output", b'{"value":' + encoded.data + b"}")
        if running.reason is not None:
            raise running.reason

    def check_batch(self, outputs: Any, size: int) -> list[Any] | tuple[Any, ...]:
        """The outputs of a batch, if there is one for each input. Raises InvalidOutput otherwise."""
        if isinstance(outputs, list | tuple) and len(outputs) == size:
            return outputs
        got = len(outputs) if isinstance(outputs, list | tuple) else type(outputs).__name__
        raise InvalidOutput(f"A batch of {size} must return a list of {size}; the model returned {got}.")

    def one_of_batch(self, running: Running, output: Any, run_s: float) -> Done:
        """An exception object in the returned list fails its item alone."""
        try:
            if isinstance(output, BaseException):
                raise output
            return self.ok(running, self.encode(running, output), run_s)
        except (Exception, Canceled) as error:
            return self.settle(running, error, run_s)

    def settle(self, running: Running, error: BaseException, run_s: float) -> Done:
        """The `done` entry of a job that did not return."""
        if isinstance(error, Canceled | asyncio.CancelledError):
            return running.id, running.attempt, "canceled", b"", run_s, None
        log.warning("job raised", job_id=running.id, model=self.spec.name, attempt=running.attempt, exc_info=error)
        return done_error(running.id, running.attempt, error, self.spec, run_s)
