"""What sync and async executors share: the way from a returned or raised value to the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Protocol

import orjson
import structlog

from longrun.errors import Canceled, InvalidOutput, SoftTimeLimit
from longrun.jobs.files import INLINE, FileRef, referenced
from longrun.models import ModelSpec
from longrun.models.files import is_storing, storing
from longrun.models.schema import Encoded
from longrun.worker.runner.items import Items, check_size
from longrun.worker.runner.memory import Calls, Fit, is_out_of_memory, release
from longrun.worker.runner.outcome import Done, done_error
from longrun.worker.runner.reports import Reports
from longrun.worker.runner.running import Key, Raw, Running

log = structlog.get_logger("longrun.runner")


class Executor(Protocol):
    """Runs jobs of one model."""

    def put(self, jobs: list[Raw], *, batch: bool, once: Collection[str] = ()) -> None:
        """Take jobs; called by the pipe's thread. `once`: ids of those whose code must not be run a second time."""

    def cancel(self, keys: list[Key], kind: type[Canceled], *, interrupt: bool) -> None:
        """Stop those that are here; called by the pipe's thread. `interrupt`: they did not look at their flag."""

    def recall(self, keys: list[Key]) -> None:
        """Give back those that have not begun; called by the pipe's thread."""


class Base:
    def __init__(self, spec: ModelSpec, instance: Any, reports: Reports) -> None:
        self.spec, self.instance, self.reports = spec, instance, reports
        self.pipe, self.enter, self.leave = reports.pipe, reports.capture.enter, reports.capture.leave
        self.jobs: dict[Key, Running] = {}
        self.fit = Fit(spec.batched.max_size if spec.batched is not None else 1)

    def runnings(self, jobs: list[Raw], once: Collection[str]) -> list[Running]:
        """What is kept of jobs here."""
        return [Running(raw, self.reports, once=raw[0] in once) for raw in jobs]

    def fitted(self, size: int) -> None:
        """A batch went well."""
        before = self.fit.size
        self.fit.fitted(size)
        self.tell_fit(before)

    def to_repeat(self, together: list[Running], calls: Calls, error: BaseException) -> list[Running]:
        """A batch of several raised: plan its further calls. Returns those that are not run again, for which the exception counts."""
        if all(running.once for running in together):
            return together
        if is_out_of_memory(error):
            release(error)
        log.warning("batch raised, its items run again", model=self.spec.name, size=len(together), cause=type(error).__name__)
        before = self.fit.size
        calls.again([running for running in together if not running.once], error)
        self.tell_fit(before)
        for running in together:
            self.leave(running)
        return [running for running in together if running.once]

    def tell_fit(self, before: int) -> None:
        """Let the worker know, if it has changed, how large its batches may be."""
        if self.fit.size != before:
            self.pipe.send("fits", self.spec.name, self.fit.size)

    def recall(self, keys: list[Key]) -> None:
        """Nothing waits here; see `Executor`."""

    def parse(self, running: Running) -> Any:
        """What `predict` is called with. Raises ValidationFailed, BadInput, BlobsUnavailable."""
        ref = referenced(running.input)
        data = orjson.loads(running.input if ref is None else running.files.read_input(ref))
        if not running.input_files:
            return self.spec.input.parse(data)
        files = {name: FileRef.of(members) for name, members in orjson.loads(running.input_files).items()}
        return self.spec.input.parse(data, files=files, attached=running.files)

    def ok(self, running: Running, output: bytes, run_s: float) -> Done:
        """The `done` entry of a job that returned. Raises ResultTooLarge, BlobsFull, BlobsUnavailable."""
        check_size(len(output), self.reports.max_output)
        if len(output) > INLINE:
            output = running.files.put_away(output)
        running.close()
        return running.id, running.attempt, "partial" if running.softened else "ok", output, run_s, None

    def items(self) -> Items:
        """For what a generator will yield."""
        return Items(self.reports.max_output, is_text=self.spec.output.is_text_stream)

    def encode(self, running: Running, value: Any) -> bytes:
        """The output as JSON, its files stored; a large array in .npy format.

        Raises:
            InvalidOutput, ResultTooLarge, BlobsFull, BlobsUnavailable
        """
        return self._encoded(running, partial(self.spec.output.encode, npy_over=INLINE), value)

    def _encoded(self, running: Running, encode: Callable[[Any], Encoded], value: Any) -> bytes:
        if self.spec.output.may_hold_files and not is_storing():
            with storing(running.files.store):
                encoded = encode(value)
        else:
            encoded = encode(value)
        running.warn(encoded.warnings)
        return encoded.data

    def item(self, running: Running, value: Any, items: Items) -> None:
        """One yielded value: an event, and a part of the output. Raises ResultTooLarge when that is too much now."""
        data = self._encoded(running, self.spec.output.encode_item, value)
        items.add(data)
        running.emit_raw("output", b'{"value":' + data + b"}")

    @staticmethod
    def to_throw(running: Running) -> Canceled | None:
        """What is to be raised at the `yield` that a generator stands at, so that it can end in its own way.

        Raises:
            Canceled: it was told before, and goes on yielding.
        """
        if running.reason is None:
            return None
        if not running.raised:
            return running.stop()
        if running.kind is not SoftTimeLimit:
            raise running.stop()
        return None

    def outputs_of_batch(self, returned: Any, size: int) -> Sequence[Any]:
        """One for each input; where the model has not returned as many, an error for each: its work is done, and is not done again."""
        if isinstance(returned, list | tuple) and len(returned) == size:
            return returned
        got = f"{len(returned)} items" if isinstance(returned, list | tuple) else type(returned).__name__
        return [InvalidOutput(f"A batch of {size} must return a list of {size}; the model returned {got}.") for _ in range(size)]

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
        running.close()
        if isinstance(error, Canceled | asyncio.CancelledError) and running.reason is not None:
            return running.id, running.attempt, "canceled", b"", run_s, running.raised or None
        log.warning("job raised", job_id=running.id, model=self.spec.name, attempt=running.attempt, exc_info=error)
        done = done_error(running.id, running.attempt, error, self.spec, run_s, how=running.raised or None)
        if done[2] == "memory":
            release(error)
        return done
