"""Runs the jobs of an async model: side by side on the runner's event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from longrun.errors import Canceled
from longrun.models import ModelSpec
from longrun.worker.runner.executor import Base, Raw, Running
from longrun.worker.runner.outcome import Done
from longrun.worker.runner.pipe import Pipe

log = structlog.get_logger("longrun.runner")


class AsyncExecutor(Base):
    """Runs async jobs side by side on the runner's event loop. How many run at once is the worker's decision: it sends no more."""

    def __init__(self, spec: ModelSpec, instance: Any, pipe: Pipe, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(spec, instance, pipe)
        self._loop = loop
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._done: list[Done] = []

    def put(self, jobs: list[Raw], *, batch: bool) -> None:
        groups = [jobs] if batch else [[raw] for raw in jobs]
        self._loop.call_soon_threadsafe(self._start, [[Running(raw, self.pipe) for raw in group] for group in groups])

    def _start(self, groups: list[list[Running]]) -> None:
        run: Callable[[list[Running]], Any] = self._run_batch if self.spec.batched else self._run_one
        for group in groups:
            task = self._loop.create_task(run(group))
            for running in group:
                self.jobs[running.id], self._tasks[running.id] = running, task

    def cancel(self, ids: list[str], reason: type[Canceled]) -> None:
        self._loop.call_soon_threadsafe(self._cancel, ids, reason)

    def _cancel(self, ids: list[str], reason: type[Canceled]) -> None:
        for job_id in ids:
            running = self.jobs.get(job_id)
            if running is not None:
                running.reason = reason
                if not self.spec.batched:
                    self._tasks[job_id].cancel()

    def _report(self, running: Running, done: Done) -> None:
        self.jobs.pop(running.id, None)
        self._tasks.pop(running.id, None)
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
                raise running.reason
            value = self.instance.call(self.parse(running), running.handle(self.spec.name))
            if self.spec.streams:
                items: list[bytes] = []
                async for item in value:
                    self.item(running, item, items)
                output = self.spec.output.join(items)
            else:
                output = self.encode(running, await value)
            done = self.ok(running, output, time.monotonic() - begin)
        except BaseException as error:
            done = self.settle(running, error, time.monotonic() - begin)
        self._report(running, done)

    async def _run_batch(self, group: list[Running]) -> None:
        begin = time.monotonic()
        ready: list[tuple[Running, Any]] = []
        for running in group:
            try:
                ready.append((running, self.parse(running)))
            except Exception as error:
                self._report(running, self.settle(running, error, 0.0))
        if not ready:
            return
        try:
            handles = [running.handle(self.spec.name) for running, _ in ready]
            outputs = self.check_batch(await self.instance.call_batch([value for _, value in ready], handles), len(ready))
        except (Exception, Canceled, asyncio.CancelledError) as error:
            if len(ready) == 1:
                self._report(ready[0][0], self.settle(ready[0][0], error, time.monotonic() - begin))
                return
            log.warning("batch raised, items run one by one", model=self.spec.name, size=len(ready), cause=type(error).__name__)
            for running, _ in ready:
                await self._run_batch([running])
            return
        run_s = time.monotonic() - begin
        for (running, _), output in zip(ready, outputs, strict=True):
            self._report(running, self.one_of_batch(running, output, run_s))
