"""Holds the models of one runner: loads them, and passes what the worker asks for to the executor of each model."""

from __future__ import annotations

import asyncio
import contextvars
import faulthandler
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, TextIO

from longrun.errors import Canceled, LongrunError, SoftTimeLimit
from longrun.jobs.fence import Fence
from longrun.models import ModelSpec, load_target
from longrun.models.patches import refuse_patches
from longrun.observe.output import finish
from longrun.worker.runner.async_executor import AsyncExecutor
from longrun.worker.runner.capture import Capture
from longrun.worker.runner.children import end_if_forked
from longrun.worker.runner.context import Context
from longrun.worker.runner.event_loop import prepare, turn
from longrun.worker.runner.executor import Executor
from longrun.worker.runner.main_thread import MainThread, Outbox
from longrun.worker.runner.memory import gpu_memory
from longrun.worker.runner.outcome import failure_of
from longrun.worker.runner.own_log import log
from longrun.worker.runner.pipe import Pipe
from longrun.worker.runner.raised import describe
from longrun.worker.runner.run import Key, Raw
from longrun.worker.runner.settings import RunnerSettings
from longrun.worker.runner.streams import log_unretrieved
from longrun.worker.runner.sync_executor import SyncExecutor
from longrun.worker.runner.threads import start_thread


class Host:
    """One runner process; `operator` is the operator's log."""

    def __init__(self, pipe: Pipe, settings: RunnerSettings, capture: Capture, operator: TextIO) -> None:
        self.pipe, self.settings, self._capture, self._operator = pipe, settings, capture, operator
        # On the main thread a signal handler of the author's may raise at any moment, also in the middle of a frame.
        self._context = Context(Outbox(pipe.send).send if settings.main_thread else pipe.send, settings, capture)
        self.executors: dict[str, Executor] = {}
        self._loaded = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._first_loop: asyncio.AbstractEventLoop | None = None
        self._main = MainThread() if settings.main_thread else None

    def run(self) -> NoReturn:
        """Load and serve until the process ends; the main thread, on which this is called, is for models that ask for it."""
        threading.Thread(target=self._read, name="pipe", daemon=True).start()
        if self._main is not None:
            self._work()
        start_thread(self._work, f"{next(iter(self.settings.models), 'model')}-0")
        while True:
            signal.pause()

    def _work(self) -> NoReturn:
        """Load and serve on one thread: what the models' code has made while it was imported and loaded may be of that thread alone."""
        try:
            self._load()
            self._serve()
        except BaseException as error:
            log.critical("the runner ends", exception=describe(error).text)
        try:
            sys.stdout.flush()
            finish()
        finally:
            os._exit(1)

    def _load(self) -> None:
        # The worker ends a runner that hangs; shortly before, the log says where it hangs. This works without the GIL.
        timeout = self.settings.load_timeout
        faulthandler.dump_traceback_later(max(0.8 * timeout, timeout - 1), file=self._operator)
        self._load_all()
        faulthandler.cancel_dump_traceback_later()
        self._capture.loaded()
        self._loaded.set()

    def _serve(self) -> None:
        if self._loop is None and self._main is None:
            # Of several sync models that share a runner, one must not find what the others do not.
            asyncio.set_event_loop(None)
        here: Callable[[], object] | None = None
        if self._main is not None:
            here = self._main.serve
        elif self._loop is not None:
            here = partial(turn, self._loop)
        for name, executor in self.executors.items():
            if not isinstance(executor, SyncExecutor):
                continue
            for n in range(self.settings.models[name]):
                if here is None:
                    here = executor.serve
                else:
                    start_thread(executor.serve, f"{name}-{n}")
        if here is not None:
            here()

    # -- loading ----------------------------------------------------------------------------------------------------------

    def _load_all(self) -> None:
        model, *_ = self.settings.models
        try:
            # Code may ask for the event loop while it is imported and loaded, and keep it.
            loop = self._first_loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            specs = [spec for spec in load_target(self.settings.target, folder_stays_first=True) if spec.name in self.settings.models]
            end_if_forked()
            if any(spec.is_async for spec in specs):
                self._loop = loop
                prepare(loop, branches=any(spec.signature.job is not None and spec.batched is None for spec in specs))
                loop.set_exception_handler(log_unretrieved)
            for spec in specs:
                model = spec.name
                self._load_one(spec)
        except BaseException as error:  # also `sys.exit("no weights")`
            end_if_forked(error)
            raised = describe(error)
            self.pipe.send("load-failed", model, failure_of(raised, 0).to_json())
            log.error("model did not load", model=model, exception=raised.text)
            finish()
            os._exit(1)

    def _load_one(self, spec: ModelSpec) -> None:
        clean = contextvars.copy_context()
        begin = time.monotonic()
        instance = clean.run(spec.instantiate)
        self._call(spec, "load", clean, instance.load, self.settings.device)
        loaded = time.monotonic()
        # A call like those of jobs: what it leaves behind is not theirs.
        self._call(spec, "warmup", clean.copy(), instance.warmup)
        refuse_patches(self.settings.target)
        if spec.is_async:
            assert self._loop is not None
            self.executors[spec.name] = AsyncExecutor(spec, instance, self._context, clean, loop=self._loop)
        else:
            place = self._main.run if self._main is not None else None
            self.executors[spec.name] = SyncExecutor(spec, instance, self._context, clean, place=place)
        self.pipe.send("ready", spec.name, loaded - begin, time.monotonic() - loaded)

    def _call(self, spec: ModelSpec, what: str, context: contextvars.Context, code: Callable[..., Any], *arguments: Any) -> None:
        outcome = context.run(code, *arguments)
        if inspect.isawaitable(outcome):
            if self._loop is None:
                raise LongrunError(f"{spec.name}: {what}() is async but predict() is not; make both async or neither.")
            self._loop.run_until_complete(self._loop.create_task(_as_coroutine(outcome), context=context))
        end_if_forked()

    # -- frames from the worker (see `worker.frames`) ---------------------------------------------------------------------

    def _read(self) -> None:
        handlers: dict[str, Callable[..., None]] = {
            "run": self._run,
            "recall": self._recall,
            "cancel": self._cancel,
            "let_go": self._let_go,
            **{kind: partial(self._reply, kind) for kind in ("answer", "kept", "history", "files", "stale")},
            "ping": self._ping,
        }
        for kind, *members in self.pipe.frames():
            handler = handlers.get(kind)
            if handler is None:
                log.error("a frame of an unknown kind came from the worker", kind=kind)
            else:
                handler(*members)
        # The worker is gone: its claims will be taken over, so whatever still runs here must not go on.
        os._exit(0)

    def _run(self, model: str, jobs: list[Raw]) -> None:
        self._loaded.wait()
        self.executors[model].put(jobs)

    def _recall(self, pairs: list[Key]) -> None:
        for executor in self.executors.values():
            executor.recall([(job_id, fence) for job_id, fence in pairs])

    def _cancel(self, pairs: list[Key], reason: str, interrupt: bool) -> None:
        kind = SoftTimeLimit if reason == "timeout" else Canceled
        for executor in self.executors.values():
            executor.stop([(job_id, fence) for job_id, fence in pairs], kind, interrupt=interrupt)

    def _let_go(self, pairs: list[Key]) -> None:
        for executor in self.executors.values():
            executor.let_go([(job_id, fence) for job_id, fence in pairs])

    def _reply(self, kind: str, job_id: str, fence: Fence, *members: Any) -> None:
        for executor in self.executors.values():
            executor.reply(kind, (job_id, fence), members)

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
