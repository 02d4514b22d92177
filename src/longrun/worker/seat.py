"""A seat holds one runner of a group after another: it starts them, knows what is aboard, and starts the next when one ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from longrun.worker.devices import Place
from longrun.worker.exits import Exit
from longrun.worker.process import RunnerProcess
from longrun.worker.run import Run, StopReason

if TYPE_CHECKING:
    from longrun.worker.lane import Lane

log = structlog.get_logger("longrun.worker")
_LONGEST_PAUSE = 30.0


class Seat:
    """One place for a runner.

    Args:
        target: what the runner imports.
        models: concurrency by model of the group.
        place: device and environment.
        log_level: for the runner.
        on_frame, on_end: the engine's; on_end gets what was aboard.

    Attributes:
        ready: models that are loaded.
        aboard: runs sent and not answered, by lane, in the order they were sent.
        lanes: whose jobs come here.
        alone: group of suspects that has the runner to itself.
        reserved: group of suspects that waits for the runner to be empty; nobody else is let aboard until then.
        failures: runners in a row that did not get to load all models; `last_failure` is what the last of them said (JSON).
        doomed: runs for whose sake the runner was killed, with the reason.
    """

    def __init__(
        self,
        target: str,
        models: dict[str, int],
        place: Place,
        log_level: str,
        *,
        on_frame: Callable[[Seat, list[Any]], None],
        on_end: Callable[[Seat, list[tuple[Lane, Run]], dict[str, StopReason], Exit], None],
    ) -> None:
        self.target, self.models, self.place, self.log_level = target, models, place, log_level
        self._on_frame, self._on_end = on_frame, on_end
        self.process: RunnerProcess | None = None
        self.ready: dict[str, float] = {}
        self.aboard: dict[Lane, dict[str, Run]] = {}
        self.lanes: list[Lane] = []
        self.alone: str | None = None
        self.reserved: str | None = None
        self.doomed: dict[str, StopReason] = {}
        self.failures = 0
        self.last_failure = b""
        self.pong_at = time.monotonic()
        self._closing = False

    async def start(self) -> None:
        """Start a runner, after a pause that grows with the failures in a row."""
        if self.failures:
            await asyncio.sleep(min(_LONGEST_PAUSE, 0.25 * 2.0 ** (self.failures - 1)))
        if self._closing:
            return
        self.process = RunnerProcess(self._frame, self._end)
        self.pong_at = time.monotonic()
        await self.process.start(self.target, self.models, self.place, self.log_level)

    def _frame(self, process: RunnerProcess, frame: list[Any]) -> None:
        if process is not self.process:
            return
        if frame[0] == "pong":
            self.pong_at = time.monotonic()
            process.look()
        elif frame[0] == "ready":
            self.ready[frame[1]] = frame[2]
            process.look()
            if len(self.ready) == len(self.models):
                self.failures, self.last_failure = 0, b""
            self._on_frame(self, frame)
        else:
            self._on_frame(self, frame)

    def _end(self, process: RunnerProcess, end: Exit) -> None:
        if process is not self.process:
            return
        aboard = [(lane, run) for lane, runs in self.aboard.items() for run in runs.values()]
        doomed = self.doomed
        unloaded = len(self.ready) < len(self.models)
        self.process, self.ready, self.aboard, self.alone, self.reserved, self.doomed = None, {}, {}, None, None, {}
        if self._closing:
            return
        if not doomed:
            # One that dies while loading is not started again in a tight loop.
            self.failures += unloaded
            log.error(
                "runner ended",
                pid=process.pid,
                how=end.words,
                peak_memory=end.peak_memory,
                hint=end.hint,
                loading=unloaded,
                aboard=len(aboard),
                models=sorted(self.models),
            )
        self._on_end(self, aboard, doomed, end)

    @property
    def empty(self) -> bool:
        """Whether nothing is aboard."""
        return not any(self.aboard.values())

    def room(self, lane: Lane) -> int:
        """How many more jobs (batched lanes: batches) of `lane` may be sent now."""
        if lane.model not in self.ready or self.alone is not None or self.reserved is not None:
            return 0
        return self._left(lane, lane.concurrency + lane.ahead())

    def _left(self, lane: Lane, most: int) -> int:
        runs = self.aboard.get(lane, {})
        here = len(runs) if lane.batched is None else len({run.batch for run in runs.values()})
        return max(0, most - here)

    def room_for_group(self, lane: Lane, group: str) -> int:
        """As `room`, for suspects of `group`. Lets nobody else aboard until the runner is empty, then gives it to the group."""
        if self.alone != group:
            if self.alone is not None or self.reserved not in (None, group):
                return 0
            self.reserved = None if self.empty else group
            if self.reserved is not None:
                return 0
            self.alone = group
        # None is sent ahead: whoever is aboard of a crash must have begun.
        return self._left(lane, lane.concurrency)

    def send(self, lane: Lane, runs: list[Run]) -> None:
        """Send runs to the runner, as one batch when the lane is batched."""
        assert self.process is not None
        self.aboard.setdefault(lane, {}).update((run.id, run) for run in runs)
        kind = "run" if lane.batched is None else "batch"
        self.process.send(kind, lane.model, [(run.id, run.attempt, run.claim.input) for run in runs])

    def take_off(self, job_id: str, attempt: int) -> tuple[Lane, Run] | None:
        """The run with this attempt that was aboard, or None: the frame is about something that was given up."""
        for lane, runs in self.aboard.items():
            run = runs.get(job_id)
            if run is not None and run.attempt == attempt:
                del runs[job_id]
                if self.empty:
                    self.alone = None
                return lane, run
        return None

    def find(self, job_id: str, attempt: int) -> Run | None:
        """The run with this attempt, if it is aboard."""
        for runs in self.aboard.values():
            run = runs.get(job_id)
            if run is not None and run.attempt == attempt:
                return run
        return None

    def runs(self) -> list[Run]:
        """All runs aboard."""
        return [run for runs in self.aboard.values() for run in runs.values()]

    def tell_to_stop(self, run: Run) -> None:
        """Send the cancel frame."""
        if self.process is not None:
            self.process.send("cancel", [run.id], "timeout" if run.stop == "timeout" else "canceled")

    def kill(self, culprits: dict[str, StopReason]) -> None:
        """End the runner for the sake of `culprits` (job id → reason)."""
        self.doomed |= culprits
        if self.process is not None:
            self.process.kill()

    def close(self) -> None:
        """End the runner for good."""
        self._closing = True
        if self.process is not None and not self.process.wait(5.0):
            log.error("runner does not end", pid=self.process.pid)
