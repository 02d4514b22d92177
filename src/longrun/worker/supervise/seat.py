"""A seat holds one runner of a group after another: it starts them, knows what is aboard, and starts the next when one ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import structlog
from msgspec.structs import replace

from longrun.jobs.failure import JobFailure
from longrun.worker.recycle import Terms
from longrun.worker.run import Run
from longrun.worker.runner.settings import RunnerSettings
from longrun.worker.supervise.devices import Place
from longrun.worker.supervise.exits import Exit
from longrun.worker.supervise.guard import Guard
from longrun.worker.supervise.process import RunnerProcess

if TYPE_CHECKING:
    from longrun.worker.dispatch.lane import Lane

log = structlog.get_logger("longrun.worker")
_LONGEST_PAUSE = 30.0
#: An idle runner that has left so many pings unanswered gets no more jobs until it answers.
_DEAF = 2

#: `standby` loads and will take over from another seat; `retiring` gets no more jobs, and ends when it holds none.
Role = Literal["serving", "standby", "retiring"]


@dataclass(frozen=True, slots=True)
class RunnerPlan:
    """What every runner of a group is started with.

    Args:
        settings: of the runner; those of its place are added.
        terms: when it is replaced.
        guard: is told of it.
    """

    settings: RunnerSettings
    terms: Terms
    guard: Guard


class Seat:
    """One place for a runner.

    Args:
        plan: of its runners.
        place: device and environment.
        on_frame, on_end: the engine's; on_end gets what was aboard.

    Attributes:
        ready: models that are loaded, and the seconds it took; `warmed` those of their warm-ups.
        fits: largest batch that its memory has room for, by model, where that is less than the model's `max_size`.
        gpu_memory: what the runner told last of its use of GPUs: allocated, reserved and most ever reserved, in bytes; None = it uses none.
        aboard: runs sent and not answered, by lane, in the order they were sent.
        lanes: whose jobs come here.
        alone: group of suspects that has the runner to itself.
        reserved: group of suspects that waits for the runner to be empty; nobody else is let aboard until then.
        failures: runners in a row that did not get to load all models; `last_failure` is what the last of them said (JSON).
        doomed: runs for whose sake the runner was killed.
        pong_at: when the latest of the pings that were answered had been sent.
        left_at: when a run ended here last.
        role: see `Role`.
        ending: the worker has ended the runner, and does not wonder at its end.
        since: monotonic time at which the runner was started.
        jobs: how many have ended in the runner; `jobs_weighed` of them before its memory was last looked at.
        held_at_start: bytes that it held when its models were loaded, where `max_memory` is set; `warned` says that it was told off.
        unanswered: pings in a row, sent while it was idle.
    """

    def __init__(
        self,
        plan: RunnerPlan,
        place: Place,
        *,
        on_frame: Callable[[Seat, list[Any]], None],
        on_end: Callable[[Seat, list[tuple[Lane, Run]], set[Run], Exit], None],
    ) -> None:
        self.plan, self.place = plan, place
        self._on_frame, self._on_end = on_frame, on_end
        self.lanes: list[Lane] = []
        self.role: Role = "serving"
        self.failures = 0
        self.last_failure = b""
        self._closing = False
        self._reset()

    def _reset(self) -> None:
        """No runner is here."""
        self.process: RunnerProcess | None = None
        self.ready: dict[str, float] = {}
        self.warmed: dict[str, float] = {}
        self.fits: dict[str, int] = {}
        self.gpu_memory: list[int] | None = None
        self.aboard: dict[Lane, dict[tuple[str, int], Run]] = {}
        self.alone: str | None = None
        self.reserved: str | None = None
        self.doomed: set[Run] = set()
        self.pong_at = self.since = time.monotonic()
        self.left_at = 0.0
        self.ending = self.warned = False
        self.jobs = self.jobs_weighed = self.held_at_start = self.unanswered = 0
        self._cause = b""

    def successor(self) -> Seat:
        """A seat of the same kind, on standby."""
        seat = Seat(self.plan, self.place, on_frame=self._on_frame, on_end=self._on_end)
        seat.lanes, seat.role = self.lanes, "standby"
        return seat

    @property
    def models(self) -> dict[str, int]:
        """Concurrency by model of the group."""
        return self.plan.settings.models

    @property
    def terms(self) -> Terms:
        """When the runner is replaced."""
        return self.plan.terms

    @property
    def pid(self) -> int:
        """Process id of the runner, 0 when there is none."""
        return self.process.pid if self.process is not None else 0

    @property
    def loaded(self) -> bool:
        """Whether all models are."""
        return len(self.ready) == len(self.models)

    @property
    def deaf(self) -> bool:
        """Whether it is idle and yet does not answer."""
        return self.unanswered >= _DEAF

    def serves(self, model: str) -> bool:
        """Whether jobs of `model` may be sent here, as far as there is room."""
        return model in self.ready and self.role == "serving" and not self.ending and not self.deaf

    async def start(self) -> None:
        """Start a runner, after a pause that grows with the failures in a row; again until the machine lets it be started."""
        while True:
            if self.failures:
                await asyncio.sleep(min(_LONGEST_PAUSE, 0.25 * 2.0 ** (self.failures - 1)))
            if self._closing:
                return
            self._reset()
            self.process = RunnerProcess(self._frame, self._end, self.plan.guard)
            try:
                await self.process.start(replace(self.plan.settings, device=self.place.device), self.place.env)
                return
            except OSError as error:
                self.process = None
                self.failures += 1
                self.last_failure = _not_loaded(f"The runner could not be started ({type(error).__name__}).")
                log.error("runner could not be started", models=sorted(self.models), error=str(error))

    def _frame(self, process: RunnerProcess, frame: list[Any]) -> None:
        if process is not self.process:
            return
        if frame[0] == "pong":
            self.pong_at, self.gpu_memory = max(self.pong_at, frame[1]), frame[2]
            deaf, self.unanswered = self.deaf, 0
            process.look()
            if deaf:
                self._on_frame(self, frame)
        elif frame[0] == "ready":
            self.ready[frame[1]], self.warmed[frame[1]] = frame[2], frame[3]
            process.look()
            if self.loaded:
                self.failures, self.last_failure = 0, b""
            self._on_frame(self, frame)
        elif frame[0] == "fits":
            self.fits[frame[1]] = frame[2]
            self._on_frame(self, frame)
        elif frame[0] == "load-failed":
            self._cause = frame[2]
        else:
            self._on_frame(self, frame)

    def _end(self, process: RunnerProcess, end: Exit) -> None:
        if process is not self.process:
            return
        aboard = [(lane, run) for lane, runs in self.aboard.items() for run in runs.values()]
        doomed, ending, unloaded = self.doomed, self.ending, not self.loaded
        cause = self._cause or _not_loaded(f"The runner died while it loaded ({end.words}).")
        self._reset()
        if self._closing:
            return
        if unloaded and not doomed:
            # One that dies while loading is not started again in a tight loop.
            self.failures, self.last_failure = self.failures + 1, cause
        if not doomed and not ending:
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

    def batch_size(self, lane: Lane) -> int:
        """Most items of a batch of `lane` here, 1 when it takes none."""
        return min(lane.batched.max_size, self.fits.get(lane.model, lane.batched.max_size)) if lane.batched is not None else 1

    def unfilled(self, lane: Lane) -> int:
        """How many more items the batches aboard could have had."""
        sizes = {run.batch: run.batch_size for run in self.aboard.get(lane, {}).values()}
        return sum(max(0, self.batch_size(lane) - size) for size in sizes.values())

    def room(self, lane: Lane) -> int:
        """How many more jobs (batched lanes: batches) of `lane` may be sent now."""
        if not self.serves(lane.model) or self.alone is not None or self.reserved is not None or self.worn(lane):
            return 0
        return self._left(lane, lane.concurrency + lane.ahead())

    def _left(self, lane: Lane, most: int) -> int:
        runs = self.aboard.get(lane, {})
        here = len(runs) if lane.batched is None else len({run.batch for run in runs.values()})
        return max(0, most - here)

    def worn(self, lane: Lane) -> bool:
        """Whether runs that were given up, and go on all the same, take half of the lane's places: it gets no more jobs.

        The next runner takes over from this one, which `Limits` ends as soon as it holds nothing else.
        """
        runs = self.aboard.get(lane, {}).values()
        places = {run.batch if lane.batched else run for run in runs}
        wanted = {run.batch if lane.batched else run for run in runs if not run.settled}
        return len(places - wanted) * 2 >= lane.concurrency

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
        self.aboard.setdefault(lane, {}).update(((run.id, run.attempt), run) for run in runs)
        kind = "run" if lane.batched is None else "batch"
        jobs = [(run.id, run.attempt, run.claim.input, run.claim.files) for run in runs]
        once = [run.id for run in runs if run.claim.policy.delivery == "at_most_once"]
        self.process.send(kind, lane.model, jobs, *([once] if lane.batched is not None else []))

    def take_off(self, job_id: str, attempt: int) -> tuple[Lane, Run] | None:
        """The run with this attempt that was aboard, or None: the frame is about something that was given up."""
        for lane, runs in self.aboard.items():
            run = runs.pop((job_id, attempt), None)
            if run is not None:
                self.jobs += 1
                self.left_at = time.monotonic()
                if self.empty:
                    self.alone = None
                return lane, run
        return None

    def had_company(self, job_id: str, attempt: int) -> bool:
        """Whether other work than its own batch ran here since this run began."""
        run = self.find(job_id, attempt)
        if run is None or run.started is None:
            return False
        others = (each for each in self.runs() if each is not run and not (run.batch and each.batch == run.batch))
        return self.left_at > run.started or any(other.started is not None for other in others)

    def find(self, job_id: str, attempt: int) -> Run | None:
        """The run with this attempt, if it is aboard."""
        return next((runs[job_id, attempt] for runs in self.aboard.values() if (job_id, attempt) in runs), None)

    def runs(self) -> list[Run]:
        """All runs aboard."""
        return [run for runs in self.aboard.values() for run in runs.values()]

    def tell_to_stop(self, runs: list[Run], *, interrupt: bool) -> None:
        """Send the cancel frame; `interrupt` also raises the exception in code that does not look at its flag."""
        if self.process is not None:
            reason = "timeout" if runs[0].stop == "timeout" else "canceled"
            self.process.send("cancel", [(run.id, run.attempt) for run in runs], reason, interrupt)

    def recall(self, lane: Lane) -> None:
        """Have the runner give back what it has not begun; `back` names what it found."""
        runs = self.aboard.get(lane, {}).values()
        waiting = [(run.id, run.attempt) for run in runs if run.started is None and run.stop is None and not run.settled]
        if waiting and self.process is not None:
            self.process.send("recall", waiting)

    def kill(self, culprits: set[Run]) -> bool:
        """End the runner for the sake of `culprits`. False: that was done before."""
        if self.process is None or self.doomed:
            return False
        self.doomed = culprits
        self.process.kill()
        return True

    def end(self, why: str = "") -> None:
        """End the runner, for which nobody is to blame.

        Args:
            why: to be told; empty = it has done its part.
        """
        if self.process is None:
            return
        self.ending = True
        if why:
            log.warning("runner is ended", pid=self.pid, why=why, models=sorted(self.models))
            self._cause = _not_loaded(f"The runner was ended: {why}.")
        self.process.kill()

    def close(self) -> None:
        """End the runner for good."""
        self._closing = True
        if self.process is not None and not self.process.wait(5.0):
            log.error("runner does not end", pid=self.process.pid)


def _not_loaded(why: str) -> bytes:
    return JobFailure("model-load-failed", why).to_json()
