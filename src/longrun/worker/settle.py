"""From what a runner said of a job, or how it died, to the outcome in the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from longrun.errors import LongrunError, StorageFull
from longrun.jobs.failure import JobFailure, StoppedBy
from longrun.jobs.fence import Fence
from longrun.jobs.record import OUR_FIGURES
from longrun.jobs.retry import retry_delay
from longrun.log import Log
from longrun.store.claims import Claims, Ending, FilesLost, Mode
from longrun.store.steps import Steps
from longrun.worker import stopping
from longrun.worker.blame import groups_of
from longrun.worker.emitter import Emitter
from longrun.worker.run import Run
from longrun.worker.supervise.exits import Exit, lost_failure
from longrun.worker.supervise.seat import Seat
from longrun.worker.tables import Recount, Spawn, Tables

log = Log("longrun.worker")
_FULL_PAUSE = 1.0
#: Seconds between two looks whether what a run has asked for last is answered.
_LOOK = 0.002


@dataclass(slots=True)
class Settler:
    """Writes outcomes, each fenced by its claim."""

    tables: Tables
    claims: Claims
    emitter: Emitter  #: writes the events that come before an outcome
    spawn: Spawn
    recount: Recount
    post: Callable[..., None]  #: makes a call on the hub's thread
    steps: Steps  #: the store's, for runs that wait
    _successes: list[tuple[Run, Ending]] = field(default_factory=list)
    _let_gos: list[Run] = field(default_factory=list)

    # -- the runner has answered ------------------------------------------------------------------------------------------

    def on_done(self, seat: Seat, entries: Sequence[Sequence[Any]]) -> None:
        """Jobs have ended in a runner; `entries` are those of the frame."""
        lanes: dict[str, None] = {}
        crowded = {(job_id, fence) for job_id, fence, said, *_ in entries if said == "memory" and seat.had_company(job_id, fence)}
        now, batches = time.monotonic(), set[int]()
        for job_id, fence, said, data, (held_s, begun, run_s), extra in entries:
            run = seat.take_off(job_id, fence)
            if run is None:
                continue
            lanes[run.lane] = None
            lane = self.tables.lane_of(run)
            if run.started is None:
                run.started = now - held_s  # it was not seen to begin: that and its end came in one frame
            if run.batch and run.batch not in batches:
                batches.add(run.batch)
                lane.pace.add(run.batch_size, now - run.started)
            run.has_run(begun, run_s)
            if (job_id, fence) in crowded and lane.may_run_alone(run):
                lane.run_alone(run)
                log.warning("out of memory beside other jobs, the job runs again alone", job_id=run.id, attempt=run.attempt)
                continue
            if not run.parked:
                lane.held -= 1
            if run.asking is None:
                lane.mean.add(held_s)
            self._ended(run, "error" if said == "memory" else said, data, extra)
        for name in lanes:
            self.tables.lanes[name].begin_next(seat)
        self.recount(seat)

    def _ended(self, run: Run, kind: str, data: bytes, extra: Any) -> None:
        if run.stop is not None and kind in ("canceled", "error", "waited") and not run.settled:
            run.has_stopped((extra[2] if kind == "error" else extra) or "flag", time.monotonic())
        if not run.settle():
            return
        if kind == "waited" and run.stop is None:
            self._let_go(run)
            return
        if kind in ("ok", "partial"):
            self._succeeded(run, Ending(run.id, run.fence, "succeeded", data, _usage(run), kind == "partial", len(run.backlog.made)))
        # After a request to stop an error is a way to stop, for nobody waits for the result any more.
        elif kind == "error" and run.stop in (None, "timeout"):
            retryable, asked, _ = extra
            seconds = float(asked) if isinstance(asked, int | float) else None
            self._persist(run, lambda: self._fail(run, data, retryable=retryable is True, asked=seconds))
        else:
            self._persist(run, lambda: self._stopped(run))

    def _succeeded(self, run: Run, ending: Ending) -> None:
        """Where nothing but the outcome is left to be written, what succeeds in one turn of the loop is written together."""
        if not self._has_said_all(run):
            self._persist(run, lambda: self._finish_one(run, ending))
            return
        if not self._successes:
            asyncio.get_running_loop().call_soon(lambda: self.spawn(self._finish_together()))
        self._successes.append((run, ending))

    async def _finish_together(self) -> None:
        ended, self._successes = self._successes, []
        try:
            answers = await self.claims.finish_all([ending for _, ending in ended])
        except Exception as error:
            for run, _ in ended:
                self._not_stored(run, error)
            return
        for (run, ending), answer in zip(ended, answers, strict=True):
            if isinstance(answer, (StorageFull, FilesLost)):
                self._persist(run, lambda run=run, ending=ending: self._finish_one(run, ending))  # type: ignore[misc]
            elif isinstance(answer, LongrunError):
                self._not_stored(run, answer)
            else:
                self._finished(run, answer)

    async def _finish_one(self, run: Run, ending: Ending) -> str | None:
        (answer,) = await self.claims.finish_all([ending])
        if isinstance(answer, FilesLost):
            log.warning("the store has lost files of the job; they are recorded again", job_id=run.id, attempt=run.attempt)
            run.backlog.repeat_files()
            await self.emitter.flush(run)
            # What is still missing then was refused; the log of the job says so.
            (answer,) = await self.claims.finish_all([replace(ending, files=0)])
        if isinstance(answer, LongrunError):
            raise answer
        return answer

    # -- to the store -----------------------------------------------------------------------------------------------------

    def _persist(self, run: Run, write: Callable[[], Awaitable[str | None]]) -> None:
        """Write the rest of the events and the outcome, however long the store is full; then the run has left the worker."""

        async def write_outcome() -> str | None:
            if run.waiting and run.asking is not None and run.stop != "lost":
                # Its code went on without a word of the store, to stop or by itself: one that waits has no outcome.
                await self.steps.resume(run.id, run.fence, run.asking.seen, go=True)
            return await write()

        self.spawn(self._write(run, write_outcome))

    async def _write(self, run: Run, write: Callable[[], Awaitable[str | None]]) -> None:
        while True:
            try:
                await self._hear_out(run)
                status = await write()
            except StorageFull:
                log.warning("store is full, the outcome waits", job_id=run.id)
                await asyncio.sleep(_FULL_PAUSE)
            except Exception as error:
                return self._not_stored(run, error)
            else:
                return self._finished(run, status)

    def _has_said_all(self, run: Run) -> bool:
        """Whether nothing but its outcome is left to be written."""
        return (run.asking is None or not (run.waiting or run.asking.answering)) and self.emitter.is_done_with(run)

    async def _hear_out(self, run: Run) -> None:
        """Write what else it has said: the entries of its journal, which are refused after the outcome, and the rest of the events."""
        while run.asking is not None and run.asking.answering:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
        await self.emitter.flush(run)

    def _not_stored(self, run: Run, error: Exception) -> None:
        # Not to be written at all: without heartbeats the lease runs out, and the job runs again or fails by its crash budget.
        self._finished(run, None)
        log.error("outcome could not be stored", job_id=run.id, attempt=run.attempt, exc_info=error)

    def _finished(self, run: Run, status: str | None) -> None:
        """The store has the outcome, and the job is `status` now; None = it refused the outcome."""
        self.tables.remove(run)
        self.post(run.sink.finished, status or "stale", run.run_s)
        if status is None:
            log.warning("outcome refused: the attempt is stale", job_id=run.id, attempt=run.attempt, fence=run.fence)

    async def _fail(self, run: Run, failure: bytes, *, retryable: bool, asked: float | None = None) -> str | None:
        delay = retry_delay(run.claim.policy, run.claim.errors + 1, retryable=retryable, asked=asked)
        if delay is not None and not _past_total(run, delay):
            return await self.claims.retry_later(run.id, run.fence, delay, failure, _usage(run))
        return await self.claims.finish(run.id, run.fence, "failed", failure, _usage(run))

    # -- it was stopped, see `stopping` -----------------------------------------------------------------------------------

    def stop(self, run: Run, by: StoppedBy | None = None) -> None:
        """End a run for its caller without waiting for the runner, which holds its slot until it answers. `by`: None if it never began."""
        self._measure(run)
        if run.settle():
            if by is not None:
                run.has_stopped(by, time.monotonic())
            self._persist(run, lambda: self._stopped(run))

    async def _stopped(self, run: Run) -> str | None:
        if run.stop == "lost":
            return None
        reason = run.stop or "canceled"
        limit = run.limit if run.stopped_by in ("flag", "exception") else run.hard_limit
        failure = stopping.failure(reason, run.attempt, limit, run.stopped_by, (run.run_s, run.stop_s)).to_json()
        if reason == "canceled":
            return await self.claims.finish(run.id, run.fence, "canceled", failure, _usage(run))
        retry = self.tables.lane_of(run).spec.options.retry
        # Stopped in the middle: how much of its work was done is not known, and `at_most_once` promises not to do it again.
        return await self._fail(run, failure, retryable=retry is not None and retry.covers(TimeoutError()) and not run.once)

    async def cancel_waiting(self, job_id: str, nonce: str, worker: str, name: str) -> None:
        """Cancel a job whose ticket Celery has dropped, for it was revoked; the store does not know that yet. `worker`: our identity."""
        claim = await self.claims.claim(job_id, nonce, worker, "", name=name)
        if claim is not None:
            failure = JobFailure("canceled", "The job was revoked before it ran.", claim.attempt)
            await self.claims.finish(job_id, claim.fence, "canceled", failure.to_json())

    # -- it waits for steps, see `parking` --------------------------------------------------------------------------------

    def release(self, run: Run) -> None:
        """Give back a run that waits, without its runner's answer: it sleeps, with the time that it ran."""
        if run.settle():
            self._let_go(run)

    def _let_go(self, run: Run) -> None:
        """It is held no longer. Those of one turn of the loop are written together."""
        if not self._let_gos:
            asyncio.get_running_loop().call_soon(lambda: self.spawn(self._let_go_together()))
        self._let_gos.append(run)

    async def _let_go_together(self) -> None:
        runs, self._let_gos = self._let_gos, []
        while runs:
            try:
                for run in runs:
                    await self._hear_out(run)
                statuses = await self.steps.let_go([(run.id, run.fence, int(run.ran * 1000), _usage(run)) for run in runs])
            except StorageFull:
                log.warning("store is full, jobs that wait are held on to", jobs=len(runs))
                await asyncio.sleep(_FULL_PAUSE)
            except Exception as error:
                for run in runs:
                    self._not_stored(run, error)
                return
            else:
                for run, status in zip(runs, statuses, strict=True):
                    self._finished(run, status)
                return

    # -- its runner has died ----------------------------------------------------------------------------------------------

    def on_runner_end(self, aboard: Sequence[Run], doomed: set[Run], end: Exit) -> None:
        """A runner has ended with jobs in it. One that ran alone is charged; several are suspects; whose code did not run is free."""
        started = [run for run in aboard if run.started is not None and not run.waits and run not in doomed]
        groups = groups_of({run.id: run.claim.suspect for run in started}, apart=all(run.group for run in started))
        for run in aboard:
            if not run.parked:
                self.tables.lane_of(run).held -= 1
            if run in doomed:
                self.stop(run, "kill")
                continue
            if run.waits and not run.once:
                self.release(run)
                continue
            failure = lost_failure(run.attempt, end, mode := _mode(run, started, bool(doomed)), len(started) - 1, waited=bool(run.waits))
            self._hand_back(run, mode, failure.to_json(), groups.get(run.id, ""))

    # -- it is given back -------------------------------------------------------------------------------------------------

    def on_back(self, seat: Seat, keys: Sequence[tuple[str, Fence]]) -> None:
        """A runner gives back what it has not begun."""
        for job_id, fence in keys:
            run = seat.take_off(job_id, fence)
            if run is not None:
                seat.jobs -= 1
                self.tables.lane_of(run).held -= 1
                # The worker may have thought that it has begun by now.
                run.started = None
                self._hand_back(run, "unstarted")
        self.recount(seat)

    def give_back(self, runs: Iterable[Run]) -> None:
        """Give back claimed jobs that wait here for a runner."""
        for run in list(runs):
            self.tables.remove_waiting(run)
            self._hand_back(run, "unstarted")

    def _hand_back(self, run: Run, mode: Mode, failure: bytes = b"", group: str = "") -> None:
        if run.settle():
            self.spawn(self._write_back(run, mode, failure, group))

    def _measure(self, run: Run) -> None:
        """Its code has run until now; what it still does there does not count."""
        seat = self.tables.seat_of(run)
        if seat is not None:
            seat.measure(run, time.monotonic())

    async def _write_back(self, run: Run, mode: Mode, failure: bytes, group: str) -> None:
        await self._write(run, lambda: self.claims.hand_back(run.id, run.fence, mode, failure, group, usage=_usage(run)))

    # -- the worker stops -------------------------------------------------------------------------------------------------

    async def give_up_waiting(self) -> None:
        """Put back what has not started: tickets and claims that wait here."""
        for lane in self.tables.lanes.values():
            ids = [job_id for job_id, _ in lane.inbox]
            lane.inbox.clear()
            for i in range(0, len(ids), 100):
                await self.claims.requeue(ids[i : i + 100])
            waiting = [*lane.pending, *lane.apart]
            lane.pending.clear()
            lane.apart.clear()
            lane.held -= len(waiting)
            await self._hand_all_back(waiting)

    async def hand_all_back(self) -> None:
        """Give back what still runs; its runners are about to be ended."""
        await self._hand_all_back([run for run in self.tables.runs.values() if not run.settled])

    async def _hand_all_back(self, held: Sequence[Run]) -> None:
        for run in held:
            self._measure(run)
            run.settled = True
        self._let_gos += [run for run in held if run.waits and not run.once]
        await asyncio.gather(self._let_go_together(), *[self._release(run) for run in held if run.once or not run.waits])

    async def _release(self, run: Run) -> None:
        # Only a job that must not run twice ends here, and needs a reason.
        reason = JobFailure("worker-lost", "The worker was stopped before the job had ended.", run.attempt).to_json() if run.once else b""
        await self._write_back(run, "unstarted" if run.started is None else "release", reason, "")


def _mode(run: Run, started: Sequence[Run], killed: bool) -> Mode:
    """How a job goes back whose runner has ended: with these whose code ran; `killed`: for the sake of another job."""
    if run.started is None:
        return "unstarted"
    return "release" if killed or run.waits else "crash" if len(started) == 1 else "suspect"


def _past_total(run: Run, delay: float) -> bool:
    total = run.claim.policy.total_timeout
    return total is not None and (run.claim.claimed - run.claim.created) / 1000 + (time.monotonic() - run.since) + delay >= total


def _usage(run: Run) -> bytes:
    """What this attempt has used (JSON), as far as that is known: our own figures first; empty = it never began."""
    ours: dict[str, float] = {}
    if run.run_s is not None:
        ours = {"run_s": round(run.run_s, 6), "wait_s": round(run.wait_s, 6)}
        if (waited := run.has_waited(time.monotonic())) > 0:
            ours["steps_s"] = round(waited, 6)
    if run.batch_size and run.started is not None:
        ours |= {"batch_size": run.batch_size, "batch_wait_s": round(run.started - run.since, 6)}
    reported = orjson.loads(run.backlog.usage) if run.backlog.usage else {}
    used = ours | {name: value for name, value in reported.items() if name not in OUR_FIGURES}
    return orjson.dumps(used) if used else b""
