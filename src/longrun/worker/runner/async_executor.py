"""Runs the jobs of an async model: side by side on the runner's event loop."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from longrun.errors import Canceled
from longrun.jobs.files import INLINE, FileRef, referenced
from longrun.models import ModelSpec
from longrun.models.files import File, storing
from longrun.worker.runner.executor import Base
from longrun.worker.runner.interrupts import awaited
from longrun.worker.runner.memory import Calls
from longrun.worker.runner.outcome import Done
from longrun.worker.runner.reports import Reports
from longrun.worker.runner.running import Key, Raw, Running

T = TypeVar("T")
log = structlog.get_logger("longrun.runner")
_THREADS = 8


class AsyncExecutor(Base):
    """Runs async jobs side by side on the runner's event loop. How many run at once is the worker's decision: it sends no more."""

    def __init__(self, spec: ModelSpec, instance: Any, reports: Reports, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(spec, instance, reports)
        self._loop = loop
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._done: list[Done] = []
        # Not the loop's own threads: a model may keep all of those busy for long.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"{spec.name}-files")

    def put(self, jobs: list[Raw], *, batch: bool, once: Collection[str] = ()) -> None:
        runnings = self.runnings(jobs, once)
        self._loop.call_soon_threadsafe(self._start, [runnings] if batch else [[running] for running in runnings])

    def _start(self, groups: list[list[Running]]) -> None:
        run: Callable[[list[Running]], Any] = self._run_batch if self.spec.batched else self._run_one
        for group in groups:
            task = self._loop.create_task(run(group))
            for running in group:
                self.jobs[running.key], self._tasks[running.key] = running, task

    def cancel(self, keys: list[Key], kind: type[Canceled], *, interrupt: bool) -> None:
        # The flag is up at once, also for code that does not let the loop turn.
        for running in [self.jobs[key] for key in keys if key in self.jobs]:
            running.tell(kind, is_async=True)
        self._loop.call_soon_threadsafe(self._cancel, keys, kind)

    def _cancel(self, keys: list[Key], kind: type[Canceled]) -> None:
        """Raise the reason where the code waits. That does no harm, so it need not wait for the second step; and it is done once."""
        for running in [self.jobs[key] for key in keys if key in self.jobs]:
            running.tell(kind, is_async=True)
            # A task that has not begun, or is between two calls, looks at the flag before it goes on.
            if running.inside and running.unwanted and not any(each.raised or each.interrupted for each in running.group):
                running.interrupted = True
                self._tasks[running.key].cancel()

    def _report(self, running: Running, done: Done) -> None:
        self.jobs.pop(running.key, None)
        self._tasks.pop(running.key, None)
        if not self._done:
            self._loop.call_soon(self._send)
        self._done.append(done)

    def _send(self) -> None:
        done, self._done = self._done, []
        self.pipe.send("done", done)

    async def _run_one(self, group: list[Running]) -> None:
        running, begin = group[0], time.monotonic()
        try:
            if running.reason is not None:
                raise running.stop()
            value = await self._parsed(running)
            self.enter(group)
            returned = self.instance.call(value, running.handle(self.spec.name))
            if self.spec.streams:
                output = await self._drain(running, returned)
            else:
                output = await self._off_loop(self.encode, running, await awaited(returned, running.group))
            done = await self._ok(running, output, time.monotonic() - begin)
        except BaseException as error:
            done = self.settle(running, error, time.monotonic() - begin)
        self._report(running, done)

    async def _drain(self, running: Running, returned: Any) -> bytes:
        items = self.items()
        iterator = aiter(returned)
        step = anext(iterator)
        while True:
            try:
                value = await awaited(step, running.group)
            except StopAsyncIteration:
                return self.spec.output.join(items.values)
            await self._off_loop(self.item, running, value, items)
            stop = self.to_throw(running)
            if stop is not None and not hasattr(iterator, "athrow"):
                raise stop
            step = anext(iterator) if stop is None else iterator.athrow(stop)

    async def _run_batch(self, group: list[Running]) -> None:
        calls = Calls(group, self.fit)
        for part in calls:
            await self._call_batch(part, calls)

    async def _call_batch(self, part: list[Running], calls: Calls) -> None:
        begin = time.monotonic()
        ready: list[tuple[Running, Any]] = []
        for running in part:
            try:
                if running.reason is not None:
                    raise running.stop()
                ready.append((running, await self._parsed(running)))
            except (Exception, Canceled) as error:
                self._report(running, self.settle(running, error, 0.0))
        if not ready:
            return
        together = [running for running, _ in ready]
        for running in together:
            running.group = together
        try:
            handles = [running.handle(self.spec.name) for running in together]
            self.enter(together)
            returned = await awaited(self.instance.call_batch([value for _, value in ready], handles), together)
        except BaseException as error:
            ended = together if len(together) == 1 else self.to_repeat(together, calls, error)
            for running in ended:
                self._report(running, self.settle(running, error, time.monotonic() - begin))
            return
        self.fitted(len(together))
        run_s = time.monotonic() - begin
        for running, output in zip(together, self.outputs_of_batch(returned, len(together)), strict=True):
            self._report(running, await self._one_of_batch(running, output, run_s))

    # What has to do with files may take long, and others share this loop.

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await self._loop.run_in_executor(self._threads, contextvars.copy_context().run, call, *arguments)

    async def _parsed(self, running: Running) -> Any:
        if referenced(running.input) is None:
            return self.parse(running)
        return await self._in_thread(self.parse, running)

    async def _off_loop(self, call: Callable[..., T], *arguments: Any) -> T:
        """Call at once; when there is something to store, again in a thread."""
        if not self.spec.output.may_hold_files:
            return call(*arguments)
        try:
            with storing(_in_a_thread):
                return call(*arguments)
        except _InAThread:
            return await self._in_thread(call, *arguments)

    async def _ok(self, running: Running, output: bytes, run_s: float) -> Done:
        if len(output) <= INLINE:
            return self.ok(running, output, run_s)
        return await self._in_thread(self.ok, running, output, run_s)

    async def _one_of_batch(self, running: Running, output: Any, run_s: float) -> Done:
        if isinstance(output, BaseException):
            return self.one_of_batch(running, output, run_s)
        try:
            return await self._ok(running, await self._off_loop(self.encode, running, output), run_s)
        except (Exception, Canceled) as error:
            return self.settle(running, error, run_s)


class _InAThread(Exception):
    """There is something to store."""


def _in_a_thread(_: File) -> FileRef:
    raise _InAThread
