"""Runs the jobs of a sync model: one after the other on each of its threads."""

from __future__ import annotations

import contextvars
import queue
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, cast

from longrun.errors import Canceled, StepRefused
from longrun.errors.catching import is_caught_by
from longrun.models import ModelSpec
from longrun.worker.runner.children import check_not_forked, end_if_forked
from longrun.worker.runner.context import Context
from longrun.worker.runner.exception_text import class_name
from longrun.worker.runner.executor import END, Executor
from longrun.worker.runner.interrupts import Interrupts
from longrun.worker.runner.outcome import Done
from longrun.worker.runner.run import Key, Run
from longrun.worker.runner.steps import start_of
from longrun.worker.runner.steps_sync import SyncSteps
from longrun.worker.runner.threads import start_thread

#: Seconds after which a spare thread that rests ends.
_IDLE = 10.0


class SyncExecutor(Executor):
    """Runs sync jobs one after the other on each of its threads: those that call `serve`.

    Args:
        place: runs what it gets, where the model's code is to run; None = on the thread that serves.
    """

    def __init__(
        self,
        spec: ModelSpec,
        instance: Any,
        context: Context,
        clean: contextvars.Context | None = None,
        *,
        place: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        super().__init__(spec, instance, context, clean)
        self._place = place
        #: Jobs for the threads; None = who takes it has to rest, see `_on_parked`.
        self._inbox: queue.SimpleQueue[list[Run] | None] = queue.SimpleQueue()
        self._interrupts = Interrupts()
        self._lock = threading.Lock()
        # Threads that rest and were not called back, the calls, and how many spare ones were ever started.
        self._resting, self._calls, self._spares = 0, queue.SimpleQueue[None](), 0

    def serve(self, patience: float | None = None) -> None:
        """Run jobs on the calling thread: for ever, or until it has rested for so many seconds."""
        while True:
            group = self._inbox.get()
            if group is not None:
                self._run_group(group)
            elif not self._rest(patience):
                return

    def _rest(self, patience: float | None) -> bool:
        """Wait until another thread is parked. False: nobody has missed this one."""
        with self._lock:
            self._resting += 1
        try:
            self._calls.get(timeout=patience)
        except queue.Empty:
            with self._lock:
                if self._resting:
                    self._resting -= 1
                    return False
            self._calls.get()  # it came just now
        return True

    def _run_group(self, group: list[Run]) -> None:
        """Outcomes are sent before the next job starts: should that one kill the process, the worker knows which it was."""
        done: list[Done] = []
        steps: Callable[[], None] = partial(self.fresh_context().run, _run_through, self.run(group, done.append))
        what = "a signal handler"
        try:
            (self._place or _here)(steps)
        except BaseException as error:  # a tracer of the author's, or an exception that another thread sends to this one
            what = class_name(type(error))
        self._complete(group, done, what)
        for run in group:
            self.runs.pop(run.key, None)
        self.context.send("done", done)

    def _on_parked(self, parked: bool) -> None:
        """While a thread waits for steps another one takes jobs in its place; when it goes on, one of them rests as soon as it is free.

        So no more jobs run at once than the model allows, also where the worker has sent some ahead.
        """
        if not parked:
            self._inbox.put(None)
            return
        with self._lock:
            rests = self._resting > 0
            self._resting -= rests
            self._spares += not rests
        if rests:
            self._calls.put(None)
        else:
            start_thread(partial(self.serve, _IDLE), f"{self.spec.name}-spare-{self._spares}")

    def _new_steps(self, run: Run) -> SyncSteps:
        if self._place is not None:
            raise StepRefused(
                "not-supported", "a model with main_thread=True cannot wait for steps: another job needs that thread meanwhile"
            )
        # A thread of the author's may be the first that asks.
        thread, start = self._interrupts.thread_of(run), start_of(run, self.spec.name, self._code)
        return SyncSteps(run, self.context, start, thread=thread, on_parked=self._on_parked)

    def _complete(self, group: list[Run], done: list[Done], what: str) -> None:
        """Add the outcomes of jobs whose steps were cut short."""
        if len(done) < len(group):
            ended = {(job_id, fence) for job_id, fence, *_ in done}
            done += self._cut_short([run for run in group if run.key not in ended], what)

    def recall(self, keys: list[Key]) -> None:
        """Give back those that wait for a thread."""
        wanted = set(keys)
        waiting: list[list[Run] | None] = []
        with suppress(queue.Empty):
            while True:
                waiting.append(self._inbox.get_nowait())
        back = [group[0].key for group in waiting if group is not None and len(group) == 1 and group[0].key in wanted]
        for key in back:
            del self.runs[key]
        for group in waiting:
            # Only this thread puts jobs in, so those that stay keep their order.
            if group is None or group[0].key in self.runs:
                self._inbox.put(group)
        if back:
            self.context.send("back", back)

    def _start(self, groups: list[list[Run]]) -> None:
        for group in groups:
            self._inbox.put(group)

    def _interrupt(self, runs: list[Run], now: bool) -> None:
        for run in runs:
            if run.steps is not None:
                cast(SyncSteps, run.steps).look()
        if now:
            for run in runs:
                self._interrupts.interrupt(run)

    async def _call(self, runs: list[Run], code: Callable[[], Any]) -> Any:
        return self._interruptible(runs, code)

    async def _iterate(self, runs: list[Run], code: Callable[[], Any]) -> Any:
        return self._interruptible(runs, lambda: iter(code()))

    async def _next(self, runs: list[Run], iterator: Any, stop: Canceled | None) -> Any:
        return self._interruptible(runs, partial(next, iterator, END) if stop is None else partial(_throw, iterator, stop), more=True)

    def _interruptible(self, runs: list[Run], code: Callable[[], Any], *, more: bool = False) -> Any:
        """What `code` returns; `more`: unless that is `END`, it will be called again. A child that was forked in there ends."""
        watchers = sys.gettrace(), sys.getprofile()
        try:
            try:
                returned = self._interrupts.call(runs, code)
            finally:
                if (sys.gettrace(), sys.getprofile()) != watchers:
                    _put_back(*watchers)
            if more and returned is not END:
                check_not_forked()
        except BaseException as error:
            end_if_forked(error)
            raise
        end_if_forked()
        return returned

    async def _apart(self, part: list[Run], steps: Coroutine[Any, Any, None]) -> None:
        self.fresh_context().run(_run_through, steps)

    def _reported(self, error: BaseException) -> BaseException:
        """What was raised: Python puts a RuntimeError around a StopIteration that leaves a coroutine, as our steps are."""
        if type(error) is not RuntimeError or error.__cause__ is None or not is_caught_by(error.__cause__, StopIteration):
            return error
        (text, *_) = error.args or ("",)
        return error.__cause__ if type(text) is str and text == "coroutine raised StopIteration" else error


def _put_back(trace: Any, profile: Any) -> None:
    """What watches this thread is again what did before the call: a debugger or profiler that a job leaves behind would watch our steps."""
    sys.setprofile(profile)
    sys.settrace(trace)


def _here(steps: Callable[[], None]) -> None:
    steps()


def _run_through(steps: Coroutine[Any, Any, None]) -> None:
    """Run steps that never wait."""
    try:
        steps.send(None)
    except StopIteration:
        return
    raise RuntimeError("a step of a sync job waited")


def _throw(iterator: Iterator[Any], stop: Canceled) -> Any:
    """What a generator yields after `stop`; an iterator that cannot get it just stops."""
    throw = getattr(iterator, "throw", None)
    if throw is None:
        raise stop
    try:
        return throw(stop)
    except StopIteration:
        return END
