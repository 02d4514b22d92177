"""How jobs are run: the steps from their inputs to their outcomes, the same for sync and async models.

The steps are coroutines. With a sync model nothing in them waits, and they run through on one of its threads (`sync_executor`); with an
async model they are a task on the runner's event loop (`async_executor`). The two differ in how the model's code is called and
interrupted, and in where our own work with files is done.
"""

from __future__ import annotations

import contextvars
import decimal
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from time import monotonic
from typing import Any, NoReturn, TypeVar, cast

import orjson

from longrun.errors import Canceled, LongrunError, StepRefused
from longrun.jobs.fence import attempt_of
from longrun.jobs.file_refs import INLINE, FileRef, referenced
from longrun.models import ModelSpec
from longrun.models.file_types import Store, storing
from longrun.models.schema import Encoded
from longrun.models.steps.code import code_of
from longrun.worker.runner.children import check_not_forked, end_if_forked
from longrun.worker.runner.context import Context
from longrun.worker.runner.memory import Calls, Fit, release
from longrun.worker.runner.outcome import Done, Items, check_size, done_error, is_stop, outputs_of_batch
from longrun.worker.runner.own_log import log
from longrun.worker.runner.raised import Raised, describe, named
from longrun.worker.runner.run import Key, Raw, Run, Times
from longrun.worker.runner.steps import Steps

T = TypeVar("T")
Encode = Callable[[Any], Encoded]
#: Where a run's `flow` says whether there is a journal.
_JOURNAL = 3
#: Python's own limit.
_RECURSION = 1000
#: A generator has yielded all.
END = object()


class Executor(ABC):
    """Runs the jobs of one model.

    Args:
        clean: context variables as the model has left them when it was loaded. Each call runs in a copy; None = those of the caller.
    """

    def __init__(self, spec: ModelSpec, instance: Any, context: Context, clean: contextvars.Context | None = None) -> None:
        self.spec, self.instance, self.context, self._max_output = spec, instance, context, context.max_output
        self._clean = clean or contextvars.copy_context()
        set_by_author = any(isinstance(value, decimal.Context) for value in self._clean.values())
        self._decimal = self._clean.copy().run(decimal.getcontext).copy() if set_by_author else None
        self._fit = Fit(spec.batched.max_size if spec.batched is not None else 1)
        self._encode = partial(spec.output.encode, npy_over=INLINE)
        self._batches, self._streams, self._has_files = spec.batched is not None, spec.streams, spec.output.may_hold_files
        self.runs: dict[Key, Run] = {}
        self._takes_job = spec.signature.job is not None
        # To be asked now: later the file may be another.
        self._code = code_of(spec) if self._takes_job else ""

    # -- what the worker asks for; called by the pipe's thread ------------------------------------------------------------

    def put(self, jobs: list[Raw]) -> None:
        """Run jobs, each by itself or, of a batched model, in one call."""
        runs = [Run(raw, self.context) for raw in jobs]
        self.runs.update({run.key: run for run in runs})
        self._start([runs] if self._batches else [run.group for run in runs])

    def stop(self, keys: list[Key], kind: type[Canceled], *, interrupt: bool) -> None:
        """Stop those that are here: the flag goes up at once. `interrupt`: they did not look at it."""
        runs = [run for key in keys if (run := self.runs.get(key)) is not None]
        for run in runs:
            run.request_stop(kind, is_async=self.spec.is_async)
        if runs:
            self._interrupt(runs, interrupt)

    def recall(self, keys: list[Key]) -> None:
        """Give back those that have not begun, if any wait here."""
        return

    def let_go(self, keys: list[Key]) -> None:
        """Have the code of those that are parked unwound."""
        for key in keys:
            steps = self._steps_of(key)
            if steps is not None:
                steps.let_go()

    def reply(self, kind: str, key: Key, members: Sequence[Any]) -> None:
        """The worker has answered what a run asked about its steps."""
        steps = self._steps_of(key)
        if steps is not None:
            steps.reply(kind, *members)

    def _steps_of(self, key: Key) -> Steps | None:
        run = self.runs.get(key)
        return None if run is None or run.steps is None else cast(Steps, run.steps)

    # -- the steps --------------------------------------------------------------------------------------------------------

    def run(self, group: list[Run], report: Callable[[Done], None]) -> Coroutine[Any, Any, None]:
        """All steps of jobs that came together, to be run in `fresh_context`; `report` gets their outcomes."""
        return self._run_batch(group, report) if self._batches else self._run_call(group, report)

    def fresh_context(self) -> contextvars.Context:
        """What a call of the model begins with: nothing of other calls is in it."""
        context = self._clean.copy()
        if self._decimal is not None:
            # It lies in a context variable, and `getcontext().prec = 9` changes it where it lies.
            context.run(decimal.setcontext, self._decimal.copy())
        return context

    async def _run_batch(self, group: list[Run], report: Callable[[Done], None]) -> None:
        """One call, or several when that raises or is too large for the memory."""
        calls = Calls(group, self._fit)
        for part in calls:
            await self._apart(part, self._run_call(part, report, calls))

    async def _run_call(self, part: list[Run], report: Callable[[Done], None], calls: Calls | None = None) -> None:
        runs, values = await self._resolve(part, report)
        if not runs:
            return
        try:
            outputs = await self._perform(runs, values)
            for run in runs:
                if run.steps is not None:
                    end_if_forked()
                    await run.steps.finish()
        except BaseException as error:
            end_if_forked(error)
            for run in runs:
                if run.steps is not None:
                    run.steps.end(failed=True)
            await self._failed(runs, error, report, calls)
        else:
            end_if_forked()
            for run, output in zip(runs, outputs, strict=True):
                await self._finish(run, output, report)

    async def _resolve(self, part: list[Run], report: Callable[[Done], None]) -> tuple[list[Run], list[Any]]:
        """Parse the inputs. Who is to stop already, or has an input that does not fit, takes no further step."""
        ready: list[Run] = []
        values: list[Any] = []
        taken = monotonic()
        for run in part:
            try:
                run.taken = taken
                if run.reason is not None:
                    raise run.stop_error()
                ref = referenced(run.input)
                value = self._parsed(run) if ref is None else await self._off_loop(self._parsed, run, ref)
                end_if_forked()
                if run.reason is not None:
                    raise run.stop_error()
                values.append(value)
                ready.append(run)
            except BaseException as error:
                end_if_forked(error)
                await self._failed([run], error, report)
        for run in ready:
            run.group = ready
        return ready, values

    def _parsed(self, run: Run, ref: FileRef | None = None) -> Any:
        """What `predict` is called with. Raises ValidationFailed, BadInput, BlobsUnavailable."""
        data = orjson.loads(run.input if ref is None else run.files.read_input(ref))
        if not run.input_files:
            return self.spec.input.parse(data)
        files = {name: FileRef.of(members) for name, members in orjson.loads(run.input_files).items()}
        return self.spec.input.parse(data, files=files, attached=run.files)

    async def _perform(self, runs: list[Run], values: list[Any]) -> Sequence[Any]:
        """Call the model: what it returned for each run; what it yielded as JSON already."""
        self.context.capture.enter(runs)
        if not self._batches:
            (run,) = runs
            if run.flow is not None and run.flow[_JOURNAL]:
                steps = run.steps = self._new_steps(run)
                steps.begin(await self._off_loop(steps.read_history))
                if run.reason is not None:
                    raise run.stop_error()
            handle = run.handle(self.spec.name, self._port) if self._takes_job else None
            if self._streams:
                return [await self._collect(runs, self.instance.bind(values[0], handle))]
            with InCode(runs):
                return [await self._call(runs, self.instance.bind(values[0], handle))]
        handles = [run.handle(self.spec.name, _no_steps_in_batches) for run in runs] if self._takes_job else None
        with InCode(runs):
            returned = await self._call(runs, self.instance.bind(values, handles))
        ended = monotonic()
        for run in runs:
            run.ended = ended
        self._adapt(self._fit.fitted, len(runs))
        return outputs_of_batch(returned, len(runs))

    def _port(self, run: Run) -> Steps:
        """What is asked for the first time when the code asks for a step. Raises StepRefused, LongrunError: steps do not work here."""
        check_not_forked()
        if run.closed:
            raise LongrunError(f"{run.id} has ended, and can ask for no steps any more")
        steps = self._steps_of(run.key)
        if steps is None:
            steps = run.steps = self._new_steps(run)
        return steps

    async def _collect(self, runs: list[Run], code: Callable[[], Any]) -> bytes:
        """All that a generator yields: each value is an event, and a part of the output."""
        items = Items(self._max_output, is_text=self.spec.output.is_text_stream)
        (run,), stop, in_code = runs, None, InCode(runs)
        with in_code:
            iterator = await self._iterate(runs, code)
        try:
            while True:
                with in_code:
                    value = await self._next(runs, iterator, stop)
                if value is END:
                    break
                check_not_forked()
                data = await self._encoded(run, self.spec.output.encode_item, value)
                items.add(data)
                run.emit("output", b'{"value":' + data + b"}")
                stop = run.error_at_yield()
        except BaseException:
            await self._close(runs, iterator)
            raise
        return self.spec.output.join(items.values)

    async def _close(self, runs: list[Run], iterator: Any) -> None:
        """Have a generator end that is asked no more: its last lines are the job's own, and can be interrupted, as long as it runs."""
        try:
            close = getattr(iterator, "aclose" if self.spec.is_async else "close", None)
            if close is not None:
                with InCode(runs):
                    await self._call(runs, close)
        except BaseException as error:
            raised = await self._described(error)
            log.warning("a generator did not end as asked", job_id=runs[0].id, model=self.spec.name, exception=raised.text)

    async def _encoded(self, run: Run, encode: Encode, value: Any) -> bytes:
        """A value as JSON; the job's log says what was altered to fit."""
        encoded = await self._encode_files(run, encode, value) if self._has_files else encode(value)
        for warning in encoded.warnings:
            run.emit("log", {"level": "warning", "message": warning})
        return encoded.data

    def _adapt(self, learn: Callable[..., None], *how: Any) -> None:
        """Let the worker know if it has changed how large batches may be."""
        before = self._fit.size
        learn(*how)
        if self._fit.size != before:
            self.context.send("fits", self.spec.name, self._fit.size)

    async def _finish(self, run: Run, output: Any, report: Callable[[Done], None]) -> None:
        """The outcome of a run whose call has returned. An exception object in the list of a batch fails its item alone."""
        if self._batches and issubclass(type(output), BaseException):
            return await self._failed([run], output, report)
        try:
            data = output if self._streams else await self._encoded(run, self._encode, output)
            end_if_forked()
            check_size(len(data), self._max_output)
            times = run.times
            if len(data) > INLINE:
                data = await self._off_loop(run.files.store_output, data)
            run.close()
        except BaseException as error:
            end_if_forked(error)
            return await self._failed([run], error, report)
        report((run.id, run.fence, "partial" if run.partial else "ok", data, times, None))

    # -- the steps of what was raised: no exception, whatever its code does, may raise in here or hold up others ------------

    async def _failed(self, runs: list[Run], error: BaseException, report: Callable[[Done], None], calls: Calls | None = None) -> None:
        """Report how runs have failed or stopped. Those of a batch that may run twice run again, in calls that are planned here."""
        again = [run for run in runs if not run.once] if calls is not None and len(runs) > 1 else []
        ended = [(run, run.times) for run in runs if not again or run.once]
        for run, _ in ended:
            run.close()
        error = self._reported(error)
        stopped = is_stop(error) and all(run.reason is not None for run in runs)
        raised = named(error) if stopped else await self._described(error)
        if calls is not None and again:
            if raised.out_of_memory:
                release(error)
            self._adapt(partial(calls.again, again, out_of_memory=raised.out_of_memory))
            for run in again:
                self.context.capture.leave(run)
            log.warning("batch raised, its items run again", model=self.spec.name, size=len(runs), cause=raised.name)
        for run, times in ended:
            report(self._error(run, raised, times))

    def _error(self, run: Run, raised: Raised, times: Times) -> Done:
        """The outcome of a run that raised or was stopped."""
        how = run.raised or None
        if run.is_let_go:
            if not is_stop(raised.error):
                log.warning("job raised when it was let go", job_id=run.id, model=self.spec.name, exception=raised.text)
            return run.id, run.fence, "waited", b"", times, None
        if run.reason is not None and is_stop(raised.error):
            return run.id, run.fence, "canceled", b"", times, how
        if raised.out_of_memory:
            release(raised.error)
        # A text, for who writes the log must not ask the exception.
        log.warning("job raised", job_id=run.id, model=self.spec.name, attempt=attempt_of(run.fence), exception=raised.text)
        return done_error(run.id, run.fence, raised, self.spec, times, how=how)

    def _cut_short(self, runs: list[Run], what: str) -> list[Done]:
        """The outcomes of runs whose steps have ended without one: the author's code has struck between two of them."""
        raised = describe(RuntimeError(f"{what} raised between two steps"))
        for run in runs:
            run.close()
        return [self._error(run, raised, run.times) for run in runs]

    # -- where sync and async differ --------------------------------------------------------------------------------------

    @abstractmethod
    def _start(self, groups: list[list[Run]]) -> None:
        """Have `run` called for each group."""

    @abstractmethod
    def _new_steps(self, run: Run) -> Steps:
        """Its code is about to ask for steps. Raises StepRefused: it cannot."""

    @abstractmethod
    async def _apart(self, part: list[Run], steps: Coroutine[Any, Any, None]) -> None:
        """Run the steps of one call of a batch in a `fresh_context` of its own."""

    @abstractmethod
    def _interrupt(self, runs: list[Run], now: bool) -> None:
        """Raise the reason in their code; `now`: it did not look at its flag."""

    @abstractmethod
    def _call(self, runs: list[Run], code: Callable[[], Any]) -> Awaitable[Any]:
        """What the model's code returns. It can be interrupted in here, and in the two that follow, and nowhere else."""

    @abstractmethod
    def _iterate(self, runs: list[Run], code: Callable[[], Any]) -> Awaitable[Any]:
        """The generator that the model's code returns."""

    @abstractmethod
    def _next(self, runs: list[Run], iterator: Any, stop: Canceled | None) -> Awaitable[Any]:
        """What it yields next, or `END`; `stop` is raised at its `yield`, or here if it has no way to get it."""

    def _reported(self, error: BaseException) -> BaseException:
        """What counts as raised."""
        return error

    async def _described(self, error: BaseException) -> Raised:
        """What is known of an exception. It may take a moment to say it, in which others go on."""
        return describe(error)

    async def _off_loop(self, call: Callable[..., T], *arguments: Any) -> T:
        """Work of ours that may take long; where others would wait for it, it is done elsewhere."""
        return call(*arguments)

    async def _encode_files(self, run: Run, encode: Encode, value: Any) -> Encoded:
        """What `encode` makes of a value that may hold files; they are stored."""
        return encode_with_files(run.files.store, encode, value)


def _no_steps_in_batches(_: Run) -> NoReturn:
    raise StepRefused("not-supported", "a batched model cannot run steps: one call of it works for several jobs. Call it as a step instead")


class InCode:
    """`with InCode(runs)`: the code of these runs, and nothing of ours, runs in here. It may be entered again."""

    def __init__(self, runs: list[Run]) -> None:
        self._runs = runs

    def __enter__(self) -> None:
        now = monotonic()
        for run in self._runs:
            run.enter_code(now)

    def __exit__(self, *_: object) -> None:
        # A recursion limit that is too low for our own steps, which the model's code has left behind, is raised again.
        if sys.getrecursionlimit() < _RECURSION:
            sys.setrecursionlimit(_RECURSION)
        now = monotonic()
        for run in self._runs:
            run.leave_code(now)


def encode_with_files(store: Store, encode: Encode, value: Any) -> Encoded:
    """Encode a value whose files are given to `store`."""
    with storing(store):
        return encode(value)
