"""Runs the jobs of a sync model: one after the other on each of its threads."""

from __future__ import annotations

import ctypes
import queue
import threading
import time
from typing import Any

import structlog

from longrun.errors import Canceled
from longrun.models import ModelSpec
from longrun.worker.runner.executor import Base, Raw, Running
from longrun.worker.runner.outcome import Done
from longrun.worker.runner.pipe import Pipe

log = structlog.get_logger("longrun.runner")


class SyncExecutor(Base):
    """Runs sync jobs one after the other on each of its threads.

    Args:
        threads: threads to start here; the caller may add its own by calling `serve`.
    """

    def __init__(self, spec: ModelSpec, instance: Any, pipe: Pipe, *, threads: int) -> None:
        super().__init__(spec, instance, pipe)
        self._inbox: queue.SimpleQueue[list[Running]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._active: dict[int, list[Running]] = {}
        for n in range(threads):
            threading.Thread(target=self.serve, name=f"{spec.name}-{n}", daemon=True).start()

    def put(self, jobs: list[Raw], *, batch: bool) -> None:
        runnings = [Running(raw, self.pipe) for raw in jobs]
        self.jobs.update((running.id, running) for running in runnings)
        for group in [runnings] if batch else [[running] for running in runnings]:
            self._inbox.put(group)

    def cancel(self, ids: list[str], reason: type[Canceled]) -> None:
        for job_id in ids:
            running = self.jobs.get(job_id)
            if running is None:
                continue
            first, running.reason = running.reason is None, reason
            # First step: the flag, seen by `job.*` and between yields. Second step, when asked again: an exception in the running code.
            if not first:
                self._interrupt(running, reason)

    def _interrupt(self, running: Running, reason: type[BaseException]) -> None:
        with self._lock:
            for ident, group in self._active.items():
                if group == [running]:
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(reason))

    def serve(self) -> None:
        """Run jobs for ever, on the calling thread.

        What has ended is told before the next job starts: should that one kill the process, the worker knows which it was, and no result
        is lost.
        """
        while True:
            self.pipe.send("done", self._run_group(self._inbox.get()))

    def _run_group(self, group: list[Running]) -> list[Done]:
        ident = threading.get_ident()
        done: list[Done] = []
        with self._lock:
            self._active[ident] = group
        try:
            done = self._run_batch(group) if self.spec.batched else [self._run_one(group[0])]
        except Canceled as stop:
            # The interrupt came after the last line of user code: a job that had its outcome keeps it.
            finished = {entry[0] for entry in done}
            done += [self.settle(running, stop, 0.0) for running in group if running.id not in finished]
        finally:
            self._disarm(ident)
            for running in group:
                self.jobs.pop(running.id, None)
        return done

    def _disarm(self, ident: int) -> None:
        """Leave the state in which an interrupt can hit this thread, and take back one that is still on its way."""
        with self._lock:
            self._active.pop(ident, None)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), None)

    def _run_one(self, running: Running) -> Done:
        begin = time.monotonic()
        try:
            if running.reason is not None:
                raise running.reason
            value = self.instance.call(self.parse(running), running.handle(self.spec.name))
            if self.spec.streams:
                items: list[bytes] = []
                for item in value:
                    self.item(running, item, items)
                output = self.spec.output.join(items)
            else:
                output = self.encode(running, value)
            return self.ok(running, output, time.monotonic() - begin)
        except BaseException as error:
            if isinstance(error, SystemExit | KeyboardInterrupt):
                error = RuntimeError(f"predict() raised {type(error).__name__}")
            return self.settle(running, error, time.monotonic() - begin)

    def _run_batch(self, group: list[Running]) -> list[Done]:
        begin = time.monotonic()
        ready: list[tuple[Running, Any]] = []
        done: list[Done] = []
        for running in group:
            try:
                if running.reason is not None:
                    raise running.reason
                ready.append((running, self.parse(running)))
            except (Exception, Canceled) as error:
                done.append(self.settle(running, error, 0.0))
        if not ready:
            return done
        try:
            handles = [running.handle(self.spec.name) for running, _ in ready]
            outputs = self.check_batch(self.instance.call_batch([value for _, value in ready], handles), len(ready))
        except (Exception, Canceled) as error:
            if len(ready) == 1:
                return [*done, self.settle(ready[0][0], error, time.monotonic() - begin)]
            # One bad item must not fail its neighbours: each runs again, alone.
            log.warning("batch raised, items run one by one", model=self.spec.name, size=len(ready), cause=type(error).__name__)
            for running, _ in ready:
                done += self._run_batch([running])
            return done
        run_s = time.monotonic() - begin
        return done + [self.one_of_batch(running, output, run_s) for (running, _), output in zip(ready, outputs, strict=True)]
