"""Holds the models of one runner: loads them, hands each job to the executor of its model, passes cancels on."""

from __future__ import annotations

import asyncio
import faulthandler
import inspect
import os
import threading
import time
from typing import Any, TextIO

import structlog

from longrun.errors import Canceled, LongrunError, SoftTimeLimit
from longrun.models import ModelSpec, load_target
from longrun.worker.runner.async_executor import AsyncExecutor
from longrun.worker.runner.capture import Capture
from longrun.worker.runner.executor import Executor
from longrun.worker.runner.files import Keeper
from longrun.worker.runner.memory import gpu_memory
from longrun.worker.runner.outcome import failure_of
from longrun.worker.runner.pipe import Pipe
from longrun.worker.runner.reports import Reports
from longrun.worker.runner.settings import RunnerSettings
from longrun.worker.runner.sync_executor import SyncExecutor

log = structlog.get_logger("longrun.runner")


class Host:
    """One runner process.

    Args:
        pipe: to the worker.
        settings: of this runner.
        capture: the output of this process.
        operator: the operator's log.
    """

    def __init__(self, pipe: Pipe, settings: RunnerSettings, capture: Capture, operator: TextIO) -> None:
        self.pipe, self.settings, self._capture, self._operator = pipe, settings, capture, operator
        self._reports = Reports(pipe, capture, settings.max_output, Keeper(settings))
        self.executors: dict[str, Executor] = {}
        self._loaded = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> None:
        """Load, then serve on this thread: user code gets the main thread wherever that is possible."""
        threading.Thread(target=self._read, name="pipe", daemon=True).start()
        # The worker ends a runner that hangs; shortly before, the log is told where it hangs. This works without the GIL.
        timeout = self.settings.load_timeout
        faulthandler.dump_traceback_later(max(0.8 * timeout, timeout - 1), file=self._operator)
        specs = self._specs()
        loop = self._loop = asyncio.new_event_loop() if any(spec.is_async for spec in specs) else None
        for spec in specs:
            self._load(spec, loop)
        faulthandler.cancel_dump_traceback_later()
        self._capture.loaded()
        self._loaded.set()
        if loop is not None:
            loop.run_forever()
        else:
            first, *_ = self.executors.values()
            assert isinstance(first, SyncExecutor)
            first.serve()

    def _specs(self) -> list[ModelSpec]:
        wanted = self.settings.models
        try:
            return [spec for spec in load_target(self.settings.target) if spec.name in wanted]
        except Exception as error:
            self._fail(next(iter(wanted)), error)
            raise

    def _load(self, spec: ModelSpec, loop: asyncio.AbstractEventLoop | None) -> None:
        begin = time.monotonic()
        instance = spec.instantiate()
        try:
            self._prepare(spec, loop, "load", instance.load(self.settings.device))
            loaded = time.monotonic()
            self._prepare(spec, loop, "warmup", instance.warmup())
        except Exception as error:
            self._fail(spec.name, error)
            raise
        concurrency = self.settings.models[spec.name]
        if spec.is_async:
            assert loop is not None
            self.executors[spec.name] = AsyncExecutor(spec, instance, self._reports, loop)
        else:
            main_serves = loop is None and not self.executors
            self.executors[spec.name] = SyncExecutor(spec, instance, self._reports, threads=concurrency - main_serves)
        self.pipe.send("ready", spec.name, loaded - begin, time.monotonic() - loaded)

    @staticmethod
    def _prepare(spec: ModelSpec, loop: asyncio.AbstractEventLoop | None, what: str, outcome: Any) -> None:
        if not inspect.isawaitable(outcome):
            return
        if loop is None:
            raise LongrunError(f"{spec.name}: {what}() is async but predict() is not; make both async or neither.")
        loop.run_until_complete(_awaited(outcome))

    def _fail(self, model: str, error: Exception) -> None:
        log.error("model did not load", model=model, exc_info=error)
        self.pipe.send("load-failed", model, failure_of(error, 0).to_json())

    def _read(self) -> None:
        for kind, *members in self.pipe.frames():
            if kind == "ping":
                self._answer(*members)
            elif kind in ("run", "batch"):
                self._loaded.wait()
                model, jobs, *once = members
                self.executors[model].put(jobs, batch=kind == "batch", once=once[0] if once else ())
            elif kind == "recall":
                for executor in self.executors.values():
                    executor.recall([(job_id, attempt) for job_id, attempt in members[0]])
            elif kind == "cancel":
                pairs, reason, interrupt = members
                keys = [(job_id, attempt) for job_id, attempt in pairs]
                for executor in self.executors.values():
                    executor.cancel(keys, SoftTimeLimit if reason == "timeout" else Canceled, interrupt=interrupt)
        # The worker is gone: its claims will be taken over, so whatever still runs here must not go on.
        os._exit(0)

    def _answer(self, number: float) -> None:
        """Where jobs share an event loop, a loop that does not turn is as bad for them as a GIL that nobody gets: it answers itself."""
        if self._loop is not None and self._loaded.is_set():
            self._loop.call_soon_threadsafe(self._pong, number)
        else:
            self._pong(number)

    def _pong(self, number: float) -> None:
        self.pipe.send("pong", number, gpu_memory())


async def _awaited(outcome: Any) -> Any:
    return await outcome
