"""The steps of a bare `Job()`: children run in place, so that flows are tested without a server. It has the same `Flow` as a runner.

In a sync parent they run one after the other; in an async one side by side, a sync child on a thread. Signals come from a dict; sleeps
take no time unless that is asked for. Retries of a child's policy are made at once. Nothing is kept: there is no journal to replay.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import orjson

from longrun.jobs.file_refs import FileRef
from longrun.models.definitions import spec_of
from longrun.models.file_schema import Attached
from longrun.models.file_types import File
from longrun.models.schema import OutputSchema
from longrun.models.spec import ModelSpec
from longrun.models.steps.awaits import Await, Step
from longrun.models.steps.failures import failure_of
from longrun.models.steps.flow import Flow
from longrun.models.steps.local_models import LocalTree, in_loop, output_of
from longrun.models.steps.outbox import Frame
from longrun.models.steps.start import Start
from longrun.models.steps.verbs import run_through

T = TypeVar("T")
#: A row of an `answer`: key, state, data, usage, id, due.
Row = tuple[str, str, bytes, bytes, str, int]
_DEEPEST = 10
#: Flags of code that is awaited.
_ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_TIME_OVER = {"code": "wait-timeout", "detail": "Nobody had answered in time."}
_ANYTHING = OutputSchema(Any)


class LocalPort:
    """See `Port`.

    Args:
        tree: what it shares with the other jobs of its tree.
        start: what is known of it.
        is_async: whether its code runs on an event loop.
        depth: jobs above it.
    """

    def __init__(self, tree: LocalTree, start: Start, *, is_async: bool, depth: int = 0) -> None:
        self.tree, self.is_async = tree, is_async
        self.attached: Attached = tree.files
        self.flow = Flow(start, warn=tree.warn)
        self.usage: dict[str, float] = {}  #: of its children, with all below them
        self._depth = depth
        self._open: dict[str, tuple[Step, tuple[Any, ...]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._looks = False
        self._misfits: set[str] = set()  #: names of signals whose value is of another type than the wait's

    async def wait(self, waiting: Await) -> None:
        """See `Port`."""
        if not self.is_async:
            self._wait_here(waiting)
            return
        over = asyncio.get_running_loop().create_future()
        waiting.on_done = lambda: None if over.done() else over.set_result(None)
        self._look_soon()
        try:
            await over
        except asyncio.CancelledError:
            self.flow.abandon(waiting)
            self._look_soon()
            raise

    async def aside(self, work: Callable[[], T]) -> T:
        """See `Port`."""
        return await asyncio.to_thread(work) if self.is_async else work()

    def store(self, file: File) -> FileRef:
        """See `Port`."""
        return self.tree.files.store(file)

    def store_output(self, data: bytes) -> bytes:
        """See `Port`: nothing is too large here."""
        return data

    def _wait_here(self, waiting: Await) -> None:
        """Sync: one after the other, and no more than it takes."""
        while not waiting.done:
            answered = self._take(self.flow.turn(idle=True))
            if not answered and not self.flow.woke and not waiting.done:
                key = next(iter(self._open))
                self._end(run_through(self._outcome(*self._open.pop(key))))

    def _look_soon(self) -> None:
        if not self._looks:
            self._looks = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Async: side by side."""
        self._looks = False
        answered = self._take(self.flow.turn(idle=False))
        while self._open:
            key, (step, call) = self._open.popitem()
            self._tasks[key] = asyncio.get_running_loop().create_task(self._run(step, call))
        if answered or self.flow.woke:
            self._look_soon()

    async def _run(self, step: Step, call: tuple[Any, ...]) -> None:
        try:
            self._end(await self._outcome(step, call))
        except Exception as error:  # nobody awaits this task: without an end the step's await would never return
            self._end(_refused(step, "internal-error", f"{type(error).__name__}: {error}"))
        finally:
            self._tasks.pop(step.key, None)
            self._look_soon()

    def _take(self, frames: list[Frame]) -> bool:
        """Do what would be sent to the worker; whether that was answered."""
        for kind, *rest in frames:
            if kind == "ask":
                for key, _, *call in rest[4]:
                    step = self.flow.step(key)
                    assert step is not None
                    self._open[key] = step, tuple(call)
                n, _, need, *_ = rest
                self.flow.feed("answer", n, 0, need > 0, 0, [])
            elif kind == "journal":
                n, entries, stop = rest
                self.flow.feed("kept", n, [b"%s 0 0 %s" % (text[:1], text[2:]) for _, text in entries])
                self._stop(stop)
            elif kind == "drop":
                self._stop(rest[0])
            elif kind == "unsignal":
                self._misfits.add(rest[0])
        return bool(frames)

    def _stop(self, keys: list[str]) -> None:
        for key in keys:
            self._open.pop(key, None)
            if (task := self._tasks.pop(key, None)) is not None:
                task.cancel()

    def _end(self, row: Row) -> None:
        for name, value in orjson.loads(row[3] or b"{}").items():
            self.usage[name] = self.usage.get(name, 0.0) + value
        self.flow.feed("answer", 0, 0, False, 0, [row])

    async def _outcome(self, step: Step, call: tuple[Any, ...]) -> Row:
        kind, *rest = call
        if kind == "sleep":
            return await self._slept(step, rest[0])
        return self._answered(step, rest[0]) if kind == "wait" else await self._ran(step, *rest)

    async def _slept(self, step: Step, seconds: float) -> Row:
        if self.tree.sleeps and self.is_async:
            await asyncio.sleep(seconds)
        elif self.tree.sleeps:
            time.sleep(seconds)  # noqa: ASYNC251 - no loop runs here
        return step.key, "succeeded", b"null", b"", "", 0

    def _answered(self, step: Step, name: str) -> Row:
        if name not in self.tree.signals:
            how = f"Job(signals={{{name!r}: …}})"
            detail = f"Nobody answers a bare Job(): give it the value, {how}, or TimeoutError for a wait whose time is over."
            return _refused(step, "wait-timeout", detail)
        value = self.tree.signals[name]
        if name in self._misfits:
            return _refused(step, "wait-timeout", f"The value of {name!r} in Job(signals=…) is not of the type that the job waits for.")
        if value is TimeoutError or isinstance(value, TimeoutError):
            return step.key, "failed", orjson.dumps(_TIME_OVER), b"", "", 0
        return step.key, "succeeded", _ANYTHING.encode(value).data, b"", "", 0

    async def _ran(self, step: Step, model: str, text: bytes, _: list[str], options: dict[str, Any]) -> Row:
        spec, job_id, used = step.spec, self.tree.next_id(), dict[str, float]()
        assert spec is not None
        if self._depth >= _DEEPEST:
            return _refused(step, "too-many-steps", f"Jobs may be steps of steps {_DEEPEST} deep.")
        retry = spec.options.retry
        for attempt in range(1, (retry.attempts if retry else 1) + 1):
            start = Start(job_id, model, origin=self.flow.start.key(step.key), child=True)
            port = LocalPort(self.tree, start, is_async=spec.is_async, depth=self._depth + 1)
            job = self.tree.new_job(job_id, model, attempt, port, used)
            try:
                state, data = "succeeded", await output_of(self.tree, spec, text, job, on_loop=self.is_async)
            except Exception as error:
                state, data = "failed", failure_of(error).to_json()
                again = retry is not None and retry.covers(error)
            _add(used, port.usage)
            if state == "succeeded" or not again:
                break
        if options.get("detached"):
            state, data = "succeeded", orjson.dumps(job_id)
        return step.key, state, data, orjson.dumps(used), job_id, 0


def is_awaited() -> bool:
    """Whether the code that asks is async. Plain models are not, also where a loop runs, as in a notebook and in async tests."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not frame.f_code.co_flags & _ASYNC:
        spec = _model_of(frame)
        if spec is not None:
            return spec.is_async
        frame = frame.f_back
    return in_loop()


def _model_of(frame: FrameType) -> ModelSpec | None:
    """The model whose function or `predict` this is a call of; None: it is that of none."""
    code, caller = frame.f_code, frame.f_back
    if code.co_name == "predict" and code.co_varnames:
        return spec_of(type(frame.f_locals.get(code.co_varnames[0])))
    for names in (frame.f_globals, caller.f_locals if caller is not None else {}):
        function = names.get(code.co_name)
        if getattr(function, "__code__", None) is code:
            return spec_of(function)
    return None


def _add(sums: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value


def _refused(step: Step, code: str, detail: str) -> Row:
    return step.key, "refused", orjson.dumps({"code": code, "detail": detail}), b"", "", 0
