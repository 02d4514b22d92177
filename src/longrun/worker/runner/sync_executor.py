"""Runs the jobs of a sync model: one after the other on each of its threads."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from longrun.errors import Canceled
from longrun.models import ModelSpec
from longrun.worker.runner.executor import Base
from longrun.worker.runner.interrupts import Interrupts
from longrun.worker.runner.memory import Calls
from longrun.worker.runner.outcome import Done
from longrun.worker.runner.reports import Reports
from longrun.worker.runner.running import Key, Raw, Running

log = structlog.get_logger("longrun.runner")
_END = object()


class SyncExecutor(Base):
    """Runs sync jobs one after the other on each of its threads.

    Args:
        threads: threads to start here; the caller may add its own by calling `serve`.
    """

    def __init__(self, spec: ModelSpec, instance: Any, reports: Reports, *, threads: int) -> None:
        super().__init__(spec, instance, reports)
        self._inbox: queue.SimpleQueue[list[Running]] = queue.SimpleQueue()
        self._interrupts = Interrupts()
        for n in range(threads):
            threading.Thread(target=self.serve, name=f"{spec.name}-{n}", daemon=True).start()

    def put(self, jobs: list[Raw], *, batch: bool, once: Collection[str] = ()) -> None:
        runnings = self.runnings(jobs, once)
        self.jobs.update((running.key, running) for running in runnings)
        for group in [runnings] if batch else [[running] for running in runnings]:
            self._inbox.put(group)

    def cancel(self, keys: list[Key], kind: type[Canceled], *, interrupt: bool) -> None:
        for running in [self.jobs[key] for key in keys if key in self.jobs]:
            running.tell(kind, is_async=False)
            if interrupt:
                self._interrupts.interrupt(running)

    def recall(self, keys: list[Key]) -> None:
        wanted = set(keys)
        kept: list[list[Running]] = []
        back: list[list[Running]] = []
        with suppress(queue.Empty):
            while True:
                group = self._inbox.get_nowait()
                (back if len(group) == 1 and group[0].key in wanted else kept).append(group)
        # Only this thread puts jobs in, so those that stay keep their order.
        for group in kept:
            self._inbox.put(group)
        for (running,) in back:
            del self.jobs[running.key]
        if back:
            self.pipe.send("back", [running.key for (running,) in back])

    def serve(self) -> None:
        """Run jobs for ever, on the calling thread.

        What has ended is told before the next job starts: should that one kill the process, the worker knows which it was, and no result
        is lost.
        """
        while True:
            group = self._inbox.get()
            done = self._run_batch(group) if self.spec.batched else [self._run_one(group[0])]
            for running in group:
                self.jobs.pop(running.key, None)
            self.pipe.send("done", done)

    def _run_one(self, running: Running) -> Done:
        begin = time.monotonic()
        try:
            if running.reason is not None:
                raise running.stop()
            value, handle = self.parse(running), running.handle(self.spec.name)
            self.enter(running.group)
            returned = self._interrupts.call(running.group, lambda: self.instance.call(value, handle))
            output = self._drain(running, returned) if self.spec.streams else self.encode(running, returned)
            return self.ok(running, output, time.monotonic() - begin)
        except BaseException as error:
            return self.settle(running, _no_exit(error), time.monotonic() - begin)

    def _drain(self, running: Running, returned: Any) -> bytes:
        items = self.items()
        iterator = self._interrupts.call(running.group, lambda: iter(returned))
        further: Callable[[], Any] = partial(next, iterator, _END)
        step = further
        while (value := self._interrupts.call(running.group, step)) is not _END:
            self.item(running, value, items)
            stop = self.to_throw(running)
            step = further if stop is None else partial(_throw, iterator, stop)
        return self.spec.output.join(items.values)

    def _run_batch(self, group: list[Running]) -> list[Done]:
        calls = Calls(group, self.fit)
        return [done for part in calls for done in self._call_batch(part, calls)]

    def _call_batch(self, part: list[Running], calls: Calls) -> list[Done]:
        """One call; what has ended by it."""
        begin = time.monotonic()
        ready: list[tuple[Running, Any]] = []
        done: list[Done] = []
        for running in part:
            try:
                if running.reason is not None:
                    raise running.stop()
                ready.append((running, self.parse(running)))
            except (Exception, Canceled) as error:
                done.append(self.settle(running, error, 0.0))
        if not ready:
            return done
        together = [running for running, _ in ready]
        for running in together:
            running.group = together
        try:
            values, handles = [value for _, value in ready], [running.handle(self.spec.name) for running in together]
            self.enter(together)
            returned = self._interrupts.call(together, lambda: self.instance.call_batch(values, handles))
        except BaseException as error:
            ended = together if len(together) == 1 else self.to_repeat(together, calls, error)
            return done + [self.settle(running, _no_exit(error), time.monotonic() - begin) for running in ended]
        self.fitted(len(together))
        run_s = time.monotonic() - begin
        outputs = self.outputs_of_batch(returned, len(together))
        return done + [self.one_of_batch(running, output, run_s) for running, output in zip(together, outputs, strict=True)]


def _no_exit(error: BaseException) -> BaseException:
    """What a model raises ends its job, and never the runner."""
    return RuntimeError(f"predict() raised {type(error).__name__}") if isinstance(error, SystemExit | KeyboardInterrupt) else error


def _throw(iterator: Iterator[Any], stop: Canceled) -> Any:
    """What a generator yields, told to stop; an iterator that cannot be told just stops."""
    throw = getattr(iterator, "throw", None)
    if throw is None:
        raise stop
    try:
        return throw(stop)
    except StopIteration:
        return _END
