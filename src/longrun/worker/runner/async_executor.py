"""Runs the jobs of an async model: side by side on the runner's event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, cast

from longrun.errors import Canceled
from longrun.jobs.file_refs import FileRef
from longrun.models import ModelSpec
from longrun.models.file_types import File
from longrun.models.schema import Encoded
from longrun.models.steps.branch import branch_of
from longrun.worker.runner.branches import begin
from longrun.worker.runner.context import Context
from longrun.worker.runner.exception_text import class_name
from longrun.worker.runner.executor import END, Encode, Executor, encode_with_files
from longrun.worker.runner.interrupts import awaited
from longrun.worker.runner.outcome import Done
from longrun.worker.runner.raised import Raised, describe_aside
from longrun.worker.runner.run import Key, Run
from longrun.worker.runner.steps import start_of
from longrun.worker.runner.steps_async import AsyncSteps, Watch

T = TypeVar("T")
_THREADS = 8


class AsyncExecutor(Executor):
    """Runs async jobs side by side on the runner's event loop. How many run at once is the worker's decision: it sends no more."""

    def __init__(
        self,
        spec: ModelSpec,
        instance: Any,
        context: Context,
        clean: contextvars.Context | None = None,
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(spec, instance, context, clean)
        self._loop = loop
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._done: list[Done] = []
        self._watch = Watch(loop)
        # Not the loop's own threads: a model may keep all of those busy for long.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"{spec.name}-files")

    def _start(self, groups: list[list[Run]]) -> None:
        self._loop.call_soon_threadsafe(self._start_tasks, groups)

    def _start_tasks(self, groups: list[list[Run]]) -> None:
        for group in groups:
            self._start_task(group, self.run(group, self._report)).add_done_callback(partial(self._complete, group))

    def _start_task(self, runs: list[Run], steps: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = begin(self._loop, steps, self.fresh_context())
        for run in runs:
            self._tasks[run.key] = task
        return task

    def _complete(self, runs: list[Run], task: asyncio.Task[None]) -> None:
        """Report jobs whose steps were cut short."""
        left = [run for run in runs if self.runs.get(run.key) is run]
        if left:
            error = None if task.cancelled() else task.exception()
            for done in self._cut_short(left, "a cancellation" if error is None else class_name(type(error))):
                self._report(done)

    async def _apart(self, part: list[Run], steps: Coroutine[Any, Any, None]) -> None:
        # Not `await`: code that cancels the task that it runs in must not cost the next call of the batch.
        await asyncio.wait([self._start_task(part, steps)])

    def _report(self, done: Done) -> None:
        """Outcomes of one turn of the loop go in one frame."""
        key = done[0], done[1]
        self.runs.pop(key, None)
        self._tasks.pop(key, None)
        if not self._done:
            self._loop.call_soon(self._send)
        self._done.append(done)

    def _send(self) -> None:
        done, self._done = self._done, []
        self.context.send("done", done)

    def _interrupt(self, runs: list[Run], now: bool) -> None:
        self._loop.call_soon_threadsafe(self._cancel_tasks, runs)

    def _cancel_tasks(self, runs: list[Run]) -> None:
        """Raise the reason where the code waits. That does no harm, so it need not wait for the second step; and it is done once."""
        for run in runs:
            # A task that has not begun, or is between two calls, looks at the flag before it goes on.
            if run.inside and run.unwanted:
                run.interrupted = True
                if run.steps is not None:
                    cast(AsyncSteps, run.steps).interrupt()
                else:
                    self._tasks[run.key].cancel()

    def _new_steps(self, run: Run) -> AsyncSteps:
        task = self._tasks[run.key]
        branch = branch_of(task)
        assert branch is not None
        start = start_of(run, self.spec.name, self._code)
        return AsyncSteps(run, self.context, start, task=task, branch=branch, watch=self._watch, off_loop=self._off_loop)

    def _call(self, runs: list[Run], code: Callable[[], Any]) -> Awaitable[Any]:
        return awaited(code(), runs)

    async def _iterate(self, runs: list[Run], code: Callable[[], Any]) -> Any:
        return aiter(code())

    async def _next(self, runs: list[Run], iterator: Any, stop: Canceled | None) -> Any:
        if stop is not None and not hasattr(iterator, "athrow"):
            raise stop
        try:
            return await awaited(anext(iterator) if stop is None else iterator.athrow(stop), runs)
        except StopAsyncIteration:
            return END

    async def _described(self, error: BaseException) -> Raised:
        return await describe_aside(error)

    # What has to do with files may take long, and others share this loop.

    async def _off_loop(self, call: Callable[..., T], *arguments: Any) -> T:
        return await self._loop.run_in_executor(self._threads, contextvars.copy_context().run, call, *arguments)

    async def _encode_files(self, run: Run, encode: Encode, value: Any) -> Encoded:
        """Encode at once; when there is a file to store, again in a thread."""
        try:
            return encode_with_files(_refuse, encode, value)
        except _HasFiles:
            return await self._off_loop(encode_with_files, run.files.store, encode, value)


class _HasFiles(Exception):
    """There is something to store."""


def _refuse(_: File) -> FileRef:
    raise _HasFiles
