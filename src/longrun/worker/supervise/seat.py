"""A seat is the lasting place of one runner process: it starts one after another, and knows which jobs are in the one that is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec.structs import replace

from longrun.jobs.failure import JobFailure
from longrun.jobs.fence import Fence
from longrun.log import Log
from longrun.worker.run import Run
from longrun.worker.runner.settings import RunnerSettings
from longrun.worker.supervise.devices import Place
from longrun.worker.supervise.exits import Exit
from longrun.worker.supervise.guard import Guard
from longrun.worker.supervise.process import RunnerProcess
from longrun.worker.supervise.terms import Terms

log = Log("longrun.worker")
_LONGEST_PAUSE = 30.0
#: An idle runner that has left so many pings unanswered gets no more jobs until it answers.
_DEAF = 2
_PATIENCE = 5.0

#: `standby` loads and will take over from another seat; `retiring` gets no more jobs, and ends when it holds none; `apart` is a further one
#: for suspects, as long as there are any.
Role = Literal["serving", "standby", "retiring", "apart"]


@dataclass(frozen=True, slots=True)
class Group:
    """Models that share runners, and the seats of those."""

    settings: RunnerSettings  #: of each runner; those of its place are added
    terms: Terms  #: when one is replaced
    lanes: Sequence[str]  #: names of the lanes of its models
    seats: list[Seat] = field(default_factory=list)


class Seat:
    """See the module.

    Args:
        group: of its runners.
        place: device and environment.
        on_frame: called with each frame of its runner.
        on_end: called when its runner has ended: with the jobs that were in it, those for whose sake it was killed, and how it ended.
        guard: ends what the runner has started when the worker is killed; None for tests.
    """

    def __init__(
        self,
        group: Group,
        place: Place,
        on_frame: Callable[[Seat, list[Any]], None],
        on_end: Callable[[Seat, list[Run], set[Run], Exit], None],
        guard: Guard | None = None,
    ) -> None:
        self.group, self.place = group, place
        self._on_frame, self._on_end, self._guard = on_frame, on_end, guard
        self.role: Role = "serving"
        self.failures = 0  #: runners in a row that did not get to load all models
        self.last_failure = b""  #: what the last of them said (JSON)
        self._closing = False
        self._reset()

    def _reset(self) -> None:
        """No runner is here."""
        self.process: RunnerProcess | None = None
        self.since = time.monotonic()  #: when the runner was started
        self.ready: dict[str, float] = {}  #: seconds that loading took, by model that is loaded; `warmed` those of their warm-ups
        self.warmed: dict[str, float] = {}
        self.cause = b""  #: why this one does not load, as far as is known (JSON)
        self.fits: dict[str, int] = {}  #: largest batch that its memory has room for, by model, where that is less than `max_size`
        self.gpu_memory: list[int] | None = None  #: bytes allocated, reserved and most ever reserved; None = it uses no GPU
        #: Runs sent and not answered, by lane, in the order they were sent.
        self.aboard: dict[str, dict[tuple[str, Fence], Run]] = {name: {} for name in self.group.lanes}
        #: Those that hold no slot, for their code waits for steps: by lane, the longest first; and those of them that are to unwind.
        self.parked: dict[str, dict[tuple[str, Fence], Run]] = {name: {} for name in self.group.lanes}
        self.leaving: dict[tuple[str, Fence], Run] = {}
        self.alone: str | None = None  #: group of suspects that has the runner to itself
        self.reserved: str | None = None  #: group that waits for it to be empty; nobody else is sent there until then
        self.kept_since = 0.0  #: when one of these was set, or given up
        self.retired_at = 0.0  #: when it began to retire last, and `patience` for how many seconds it does so at most while others wait
        self.patience = _PATIENCE
        self.left_at = 0.0  #: when a run ended here last
        self.jobs = self.jobs_weighed = 0  #: how many have ended in it; `jobs_weighed` of them before its memory was last looked at
        self.held_at_start = 0  #: bytes that it held when its models were loaded, where `max_memory` is set
        self.pong_at = self.since  #: when the latest of the pings that were answered had been sent
        self.unanswered = 0  #: pings in a row, sent while it was idle
        self.doomed: set[Run] = set()  #: runs for whose sake it was killed
        self.ending = False  #: the worker has ended it for another reason

    def further(self, role: Role) -> Seat:
        """A further seat of the group, in the same place."""
        seat = Seat(self.group, self.place, self._on_frame, self._on_end, self._guard)
        seat.role = role
        self.group.seats.append(seat)
        return seat

    @property
    def models(self) -> list[str]:
        """Names of the group's models, sorted."""
        return sorted(self.group.settings.models)

    @property
    def terms(self) -> Terms:
        """When the runner is replaced."""
        return self.group.terms

    @property
    def pid(self) -> int:
        """Process id of the runner, 0 when there is none."""
        return self.process.pid if self.process is not None else 0

    @property
    def loaded(self) -> bool:
        """Whether all models are."""
        return len(self.ready) == len(self.group.settings.models)

    @property
    def deaf(self) -> bool:
        """Whether it is idle and yet does not answer."""
        return self.unanswered >= _DEAF

    @property
    def empty(self) -> bool:
        """Whether no job is in it."""
        return not (any(self.aboard.values()) or any(self.parked.values()) or self.leaving)

    def serves(self, model: str) -> bool:
        """Whether jobs of `model` may be sent here, as far as there is room."""
        return self.role == "serving" and self._hears(model)

    def admits(self, model: str, group: str) -> bool:
        """Whether suspects of `group` may be sent here, as far as there is room."""
        return self.alone == group and self.role in ("serving", "apart") and self._hears(model)

    def _hears(self, model: str) -> bool:
        return model in self.ready and not self.ending and not self.deaf

    @property
    def kept(self) -> bool:
        """Whether nobody but a group of suspects is sent here."""
        return self.alone is not None or self.reserved is not None

    def keep_for(self, group: str | None, now: float) -> None:
        """Have the runner for this group alone as soon as it is empty; None = for anybody."""
        self.alone, self.reserved = (group, None) if self.empty else (None, group)
        self.kept_since = now

    # -- from start to end ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start a runner, after a pause that grows with the failures in a row; again until the machine lets it be started."""
        while True:
            if self.failures:
                await asyncio.sleep(min(_LONGEST_PAUSE, 0.25 * 2.0 ** (self.failures - 1)))
            if self._closing:
                return
            self.since = self.pong_at = time.monotonic()
            self.process = RunnerProcess(self._frame, self._end, self._guard)
            try:
                await self.process.start(replace(self.group.settings, device=self.place.device), self.place.env)
                return
            except OSError as error:
                self.process = None
                self.failures += 1
                self.last_failure = _not_loaded(f"The runner could not be started ({type(error).__name__}).")
                log.error("runner could not be started", models=self.models, error=str(error))

    def _frame(self, process: RunnerProcess, frame: list[Any]) -> None:
        if process is self.process:
            self._on_frame(self, frame)

    def has_loaded(self, model: str, load_s: float, warmup_s: float) -> None:
        """The runner has loaded a model, and it took so long."""
        self.ready[model], self.warmed[model] = load_s, warmup_s
        if self.process is not None:
            self.process.sample()
        if self.loaded:
            self.failures, self.last_failure = 0, b""

    def has_answered(self, ping: float, gpu_memory: list[int] | None) -> bool:
        """The runner has answered the ping that was sent at `ping`. True: it had been deaf until now."""
        was_deaf = self.deaf
        self.pong_at, self.gpu_memory, self.unanswered = max(self.pong_at, ping), gpu_memory, 0
        if self.process is not None:
            self.process.sample()
        return was_deaf

    def _end(self, process: RunnerProcess, end: Exit) -> None:
        if process is not self.process:
            return
        aboard = self.runs()
        for run in aboard:
            self.measure(run, end.at)
        doomed, ending, unloaded = self.doomed, self.ending, not self.loaded
        cause = self.cause or _not_loaded(f"The runner died while it loaded ({end.words}).")
        self._reset()
        if self._closing:
            return
        if unloaded and not doomed:
            # One that dies while loading is not started again in a tight loop.
            self.failures, self.last_failure = self.failures + 1, cause
        self._on_end(self, aboard, doomed, end)
        if not doomed and not ending:
            facts = {"how": end.words, "peak_memory": end.peak_memory, "hint": end.hint}
            log.error("runner ended", pid=process.pid, **facts, loading=unloaded, aboard=len(aboard), models=self.models)

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
            why: for the log; empty = it has done its part.
        """
        if self.process is None:
            return
        self.ending = True
        if why:
            self.cause = _not_loaded(f"The runner was ended: {why}.")
        self.process.kill()
        if why:
            log.warning("runner is ended", pid=self.pid, why=why, models=self.models)

    def leave(self) -> None:
        """End the runner, which holds no job, and the seat with it."""
        self._closing = True
        self.group.seats.remove(self)
        if self.process is not None:
            self.process.kill()

    def close(self) -> None:
        """End the runner for good."""
        self._closing = True
        if self.process is not None and not self.process.wait(5.0):
            log.error("runner does not end", pid=self.process.pid)

    # -- what is in it ----------------------------------------------------------------------------------------------------

    def send(self, model: str, runs: Sequence[Run]) -> None:
        """Send runs of one lane to the runner; where the model is batched, they are run in one call."""
        assert self.process is not None
        self.aboard[runs[0].lane].update(((run.id, run.fence), run) for run in runs)
        self.process.send("run", model, [_item(run) for run in runs])

    def take_off(self, job_id: str, fence: Fence) -> Run | None:
        """The run of this claim, which is here no longer. None: it was not here, so the frame is about something that was given up."""
        for runs in self._holds():
            run = runs.pop((job_id, fence), None)
            if run is not None:
                self.jobs += 1
                self.left_at = time.monotonic()
                return run
        return None

    def find(self, job_id: str, fence: Fence) -> Run | None:
        """The run of this claim, if it is here."""
        return next((runs[job_id, fence] for runs in self._holds() if (job_id, fence) in runs), None)

    def runs(self) -> list[Run]:
        """All runs that are here."""
        return [run for runs in self._holds() for run in runs.values()]

    def _holds(self) -> Iterator[dict[tuple[str, Fence], Run]]:
        yield from self.aboard.values()
        yield from self.parked.values()
        yield self.leaving

    def had_company(self, job_id: str, fence: Fence) -> bool:
        """Whether other work than its own batch ran here since this run began."""
        run = self.find(job_id, fence)
        if run is None or run.started is None:
            return False
        others = (each for each in self.runs() if each is not run and not (run.batch and each.batch == run.batch))
        return self.left_at > run.started or any(other.started is not None and not other.waits for other in others)

    def park(self, run: Run) -> None:
        """Its code waits for steps; it holds no place."""
        key = run.id, run.fence
        self.parked[run.lane][key] = self.aboard[run.lane].pop(key)

    def unpark(self, run: Run) -> None:
        """It holds a place again: the first one, for its code goes on before that of what was sent ahead."""
        key = run.id, run.fence
        self.parked[run.lane].pop(key, None)
        self.leaving.pop(key, None)
        self.aboard[run.lane] = {key: run, **self.aboard[run.lane]}

    def let_go(self, runs: Sequence[Run]) -> None:
        """Have the runner unwind the code of these, which are parked here; it answers with outcomes of the kind `waited`."""
        for run in runs:
            key = run.id, run.fence
            self.leaving[key] = self.parked[run.lane].pop(key)
        if self.process is not None:
            self.process.send("let_go", [(run.id, run.fence) for run in runs])

    def answer(self, name: str, run: Run, *members: Any) -> None:
        """Answer what a run has asked for."""
        if self.process is not None:
            self.process.send(name, run.id, run.fence, *members)

    async def has_room(self) -> None:
        """Wait until its runner has read most of what was sent to it, or has ended."""
        if self.process is not None:
            await self.process.has_room()

    def measure(self, run: Run, now: float) -> None:
        """Find out how long the code of a run that is here has run until `now`, without its runner's answer."""
        if self.process is not None and (found := self.process.code_time(run.id, run.fence, now)):
            run.has_run(*found)

    def request_stop(self, runs: Sequence[Run], *, interrupt: bool) -> None:
        """Have the runner stop these; `interrupt` also raises the exception in code that does not look at its flag."""
        if self.process is not None:
            reason = "timeout" if runs[0].stop == "timeout" else "canceled"
            self.process.send("cancel", [(run.id, run.fence) for run in runs], reason, interrupt)

    def recall(self, runs: Iterable[Run]) -> None:
        """Have the runner give back those that have not begun; the frame `back` names what it found."""
        waiting = [(run.id, run.fence) for run in runs if run.started is None and run.stop is None and not run.settled]
        if waiting and self.process is not None:
            self.process.send("recall", waiting)


def _item(run: Run) -> tuple[Any, ...]:
    claim = run.claim
    flow = claim.flow and (claim.flow.epoch, claim.flow.again, claim.flow.origin, claim.flow.journal, claim.flow.child)
    return run.id, run.fence, claim.input, claim.files, run.once, flow


def _not_loaded(why: str) -> bytes:
    return JobFailure("model-load-failed", why).to_json()
