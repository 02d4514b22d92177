"""Holds the models of one runner: loads them, and passes what the worker asks for to the executor of each model."""

from __future__ import annotations

import asyncio
import faulthandler
import inspect
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

import structlog

from longrun.errors import Canceled, LongrunError, SoftTimeLimit
from longrun.models import ModelSpec, load_target
from longrun.worker.runner.async_executor import AsyncExecutor
from longrun.worker.runner.capture import Capture
from longrun.worker.runner.context import Context
from longrun.worker.runner.executor import Executor
from longrun.worker.runner.memory import gpu_memory
from longrun.worker.runner.outcome import failure_of
from longrun.worker.runner.pipe import Pipe
from longrun.worker.runner.raised import describe
from longrun.worker.runner.run import Key, Raw
from longrun.worker.runner.settings import RunnerSettings
from longrun.worker.runner.streams import log_unretrieved
from longrun.worker.runner.sync_executor import SyncExecutor

log = structlog.get_logger("longrun.runner")


class Host:
    """One runner process; `operator` is the operator's log."""

    def __init__(self, pipe: Pipe, settings: RunnerSettings, capture: Capture, operator: TextIO) -> None:
        self.pipe, self.settings, self._capture, self._operator = pipe, settings, capture, operator
        self._context = Context(pipe.send, settings, capture)
        self.executors: dict[str, Executor] = {}
        self._loaded = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> None:
        """Load, then serve on this thread: user code gets the main thread wherever that is possible."""
        threading.Thread(target=self._read, name="pipe", daemon=True).start()
        # The worker ends a runner that hangs; shortly before, the log says where it hangs. This works without the GIL.
        timeout = self.settings.load_timeout
        faulthandler.dump_traceback_later(max(0.8 * timeout, timeout - 1), file=self._operator)
        self._load_all()
        faulthandler.cancel_dump_traceback_later()
        self._capture.loaded()
        self._loaded.set()
        if self._loop is not None:
            self._loop.run_forever()
        else:
            first, *_ = self.executors.values()
            assert isinstance(first, SyncExecutor)
            first.serve()

    # -- loading ----------------------------------------------------------------------------------------------------------

    def _load_all(self) -> None:
        model, *_ = self.settings.models
        try:
            specs = [spec for spec in load_target(self.settings.target) if spec.name in self.settings.models]
            if any(spec.is_async for spec in specs):
                self._loop = asyncio.new_event_loop()
                self._loop.set_exception_handler(log_unretrieved)
            for spec in specs:
                model = spec.name
                self._load(spec)
        except BaseException as error:  # also `sys.exit("no weights")`
            raised = describe(error)
            log.error("model did not load", model=model, exception=raised.text)
            self.pipe.send("load-failed", model, failure_of(raised, 0).to_json())
            sys.exit(1)

    def _load(self, spec: ModelSpec) -> None:
        begin = time.monotonic()
        instance = spec.instantiate()
        self._awaited(spec, "load", instance.load(self.settings.device))
        loaded = time.monotonic()
        self._awaited(spec, "warmup", instance.warmup())
        if spec.is_async:
            assert self._loop is not None
            self.executors[spec.name] = AsyncExecutor(spec, instance, self._context, loop=self._loop)
        else:
            main_serves = self._loop is None and not self.executors
            threads = self.settings.models[spec.name] - main_serves
            self.executors[spec.name] = SyncExecutor(spec, instance, self._context, threads=threads)
        self.pipe.send("ready", spec.name, loaded - begin, time.monotonic() - loaded)

    def _awaited(self, spec: ModelSpec, what: str, outcome: Any) -> None:
        if not inspect.isawaitable(outcome):
            return
        if self._loop is None:
            raise LongrunError(f"{spec.name}: {what}() is async but predict() is not; make both async or neither.")
        self._loop.run_until_complete(_as_coroutine(outcome))

    # -- frames from the worker (see `worker.frames`) ---------------------------------------------------------------------

    def _read(self) -> None:
        handlers: dict[str, Callable[..., None]] = {
            "run": self._run,
            "recall": self._recall,
            "cancel": self._cancel,
            "ping": self._ping,
        }
        for kind, *members in self.pipe.frames():
            handlers[kind](*members)
        # The worker is gone: its claims will be taken over, so whatever still runs here must not go on.
        os._exit(0)

    def _run(self, model: str, jobs: list[Raw]) -> None:
        self._loaded.wait()
        self.executors[model].put(jobs)

    def _recall(self, pairs: list[Key]) -> None:
        for executor in self.executors.values():
            executor.recall([(job_id, attempt) for job_id, attempt in pairs])

    def _cancel(self, pairs: list[Key], reason: str, interrupt: bool) -> None:
        kind = SoftTimeLimit if reason == "timeout" else Canceled
        for executor in self.executors.values():
            executor.stop([(job_id, attempt) for job_id, attempt in pairs], kind, interrupt=interrupt)

    def _ping(self, number: float) -> None:
        """Where jobs share an event loop, a loop that does not turn is as bad for them as a GIL that nobody gets: it answers itself."""
        if self._loop is not None and self._loaded.is_set():
            self._loop.call_soon_threadsafe(self._pong, number)
        else:
            self._pong(number)

    def _pong(self, number: float) -> None:
        self.pipe.send("pong", number, gpu_memory())


async def _as_coroutine(outcome: Any) -> Any:
    return await outcome
