"""From what a runner said, or how it died, to what the store is told."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from longrun.errors import LongrunError, StorageFull
from longrun.jobs.failure import JobFailure, StoppedBy
from longrun.jobs.retry import retry_delay
from longrun.store.claims import Ending, Mode
from longrun.worker.exits import Exit, lost_failure

if TYPE_CHECKING:
    from longrun.worker.engine import Engine
    from longrun.worker.lane import Lane
    from longrun.worker.run import Run
    from longrun.worker.seat import Seat

log = structlog.get_logger("longrun.worker")
_FULL_PAUSE = 1.0
_PARTS = 4


class Settler:
    """Writes outcomes, each fenced by its attempt."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._claims = engine.store.claims
        self._successes: list[tuple[Lane, Run, Ending]] = []

    # -- what runners say -------------------------------------------------------------------------------------------------

    def on_done(self, seat: Seat, entries: Sequence[Sequence[Any]]) -> None:
        """Jobs have ended in a runner."""
        lanes: dict[Lane, None] = {}
        beside = {job_id for job_id, attempt, said, *_ in entries if said == "memory" and seat.had_company(job_id, attempt)}
        now, batches = time.monotonic(), set[int]()
        for job_id, attempt, said, data, run_s, extra in entries:
            found = seat.take_off(job_id, attempt)
            if found is None:
                continue
            lane, run = found
            lanes[lane] = None
            if run.started is None:
                run.started = now - run_s  # it ended before it was seen to begin: both were told in one breath
            if run.batch and run.batch not in batches and run.started is not None:
                batches.add(run.batch)
                lane.pace.add(run.batch_size, now - run.started)
            if job_id in beside and lane.may_run_alone(run):
                log.warning("out of memory beside other jobs, the job runs again alone", job_id=run.id, attempt=run.attempt)
                lane.run_alone(run)
                continue
            kind = "error" if said == "memory" else said
            lane.held -= 1
            lane.mean.add(run_s)
            run.run_s = run_s
            if run.stop is not None and kind in ("canceled", "error") and not run.settled:
                run.has_stopped((extra if kind == "canceled" else extra[2]) or "flag", time.monotonic())
            if not run.settled:
                run.settled = True
                if kind in ("ok", "partial") and self._engine.emitter.is_done_with(run):
                    self._succeeded(lane, run, data, partial=kind == "partial")
                else:
                    self._engine.spawn(self._settle(lane, run, kind, data, extra))
        for lane in lanes:
            lane.begin_next(seat)
        self._engine.recount(seat)

    def _succeeded(self, lane: Lane, run: Run, data: bytes, *, partial: bool) -> None:
        """Nothing but the outcome is left to be written: what succeeds in one turn of the loop is written together."""
        if not self._successes:
            self._engine.loop.call_soon(lambda: self._engine.spawn(self._settle_successes()))
        self._successes.append((lane, run, Ending(run.id, run.attempt, "succeeded", data, _usage(run), partial)))

    async def _settle_successes(self) -> None:
        ended, self._successes = self._successes, []
        answers = await self._claims.finish_all([ending for _, _, ending in ended])
        for (lane, run, ending), answer in zip(ended, answers, strict=True):
            if isinstance(answer, StorageFull):
                self._engine.spawn(self._settle(lane, run, "partial" if ending.partial else "ok", ending.data, None))
                continue
            if isinstance(answer, LongrunError):
                self._not_stored(run, answer)
            self._told(lane, run, None if isinstance(answer, LongrunError) else answer)

    @staticmethod
    def _not_stored(run: Run, error: Exception) -> None:
        # Not to be written at all: without heartbeats the lease runs out, and the job runs again or fails by its crash budget.
        log.error("outcome could not be stored", job_id=run.id, attempt=run.attempt, exc_info=error)

    async def _persist(self, lane: Lane, run: Run, write: Callable[[], Awaitable[str | None]]) -> None:
        """Write the rest of the events and the outcome, however long the store is full; then the run has left the worker."""
        while True:
            try:
                await self._engine.emitter.flush(run)
                status = await write()
                break
            except StorageFull:
                log.warning("store is full, the outcome waits", job_id=run.id)
                await asyncio.sleep(_FULL_PAUSE)
            except Exception as error:
                self._not_stored(run, error)
                status = None
                break
        self._told(lane, run, status)

    async def _settle(self, lane: Lane, run: Run, kind: str, data: bytes, extra: Any) -> None:
        await self._persist(lane, run, lambda: self._outcome(lane, run, kind, data, extra))

    async def _outcome(self, lane: Lane, run: Run, kind: str, data: bytes, extra: Any) -> str | None:
        ok = kind in ("ok", "partial")
        if ok:
            return await self._claims.finish(run.id, run.attempt, "succeeded", data, _usage(run), partial=kind == "partial")
        # An error after it was told that nobody wants it any more is a way to stop.
        if kind == "error" and run.stop in (None, "timeout"):
            retryable, asked, _ = extra
            return await self._fail(run, data, retryable=retryable, asked=asked)
        return await self._write_stop(lane, run)

    async def _fail(self, run: Run, failure: bytes, *, retryable: bool, asked: float | None = None) -> str | None:
        delay = retry_delay(run.claim.policy, run.claim.errors + 1, retryable=retryable, asked=asked)
        if delay is not None and not self._past_total(run, delay):
            return await self._claims.retry_later(run.id, run.attempt, delay, failure, _usage(run))
        return await self._claims.finish(run.id, run.attempt, "failed", failure, _usage(run))

    @staticmethod
    def _past_total(run: Run, delay: float) -> bool:
        total = run.claim.policy.total_timeout
        return total is not None and (run.claim.claimed - run.claim.created) / 1000 + run.run_s + delay >= total

    def _told(self, lane: Lane, run: Run, status: str | None) -> None:
        self._engine.leave(lane, run)
        if status is None:
            log.warning("outcome refused: the attempt is stale", job_id=run.id, attempt=run.attempt)
        self._engine.post(run.sink.finished, status or "stale", run.run_s)

    # -- stops ------------------------------------------------------------------------------------------------------------

    def stopped(self, lane: Lane, run: Run, by: StoppedBy | None = None) -> None:
        """End a run for its caller without waiting for the runner, which holds its slot until it answers. `by`: None if it never began."""
        if not run.settled:
            run.settled = True
            if by is not None:
                run.has_stopped(by, time.monotonic())
            self._engine.spawn(self._settle_stop(lane, run))

    async def _settle_stop(self, lane: Lane, run: Run) -> None:
        await self._persist(lane, run, lambda: self._write_stop(lane, run))

    async def _write_stop(self, lane: Lane, run: Run) -> str | None:
        if run.stop == "lost":
            return None
        if run.stop == "timeout":
            retry = lane.spec.options.retry
            limit = run.limit if run.stopped_by in ("flag", "exception") else run.hard_limit
            failure = _stop_failure(run, "timeout", f"The job had not ended within its {limit}.")
            # Stopped in the middle: how much of its work was done is not known, and `at_most_once` promises not to do it again.
            again = retry is not None and retry.covers(TimeoutError()) and run.claim.policy.delivery == "at_least_once"
            return await self._fail(run, failure.to_json(), retryable=again)
        failure = _stop_failure(run, "canceled", "The job was canceled.")
        return await self._claims.finish(run.id, run.attempt, "canceled", failure.to_json(), _usage(run))

    async def cancel_waiting(self, job_id: str) -> None:
        """Cancel a job that waits: Celery was told to revoke it, and would drop its ticket without a word to the store."""
        claim = await self._claims.claim(job_id, f"revoke-{job_id}", self._engine.plan.name, "")
        if claim is not None:
            failure = JobFailure("canceled", "The job was revoked before it ran.", claim.attempt)
            await self._claims.finish(job_id, claim.attempt, "canceled", failure.to_json())

    # -- dead runners -----------------------------------------------------------------------------------------------------

    def on_runner_end(self, seat: Seat, aboard: list[tuple[Lane, Run]], doomed: set[Run], end: Exit) -> None:
        """A runner has ended with jobs aboard. One that ran alone is charged; several are suspects; those that had not started are free."""
        started = [run for _, run in aboard if run.started is not None and run not in doomed]
        groups = groups_of([run.id for run in started])
        for lane, run in aboard:
            lane.held -= 1
            if run.settled:
                continue
            run.settled = True
            if run in doomed:
                run.has_stopped("kill", time.monotonic())
                self._engine.spawn(self._settle_stop(lane, run))
                continue
            mode: Mode = "unstarted" if run.started is None else "release" if doomed else "crash" if len(started) == 1 else "suspect"
            failure = lost_failure(run.attempt, end, mode, len(started) - 1)
            self._engine.spawn(self._hand_back(lane, run, mode, failure.to_json(), groups.get(run.id, "")))

    # -- jobs behind a long one -------------------------------------------------------------------------------------------

    def on_back(self, seat: Seat, keys: Sequence[tuple[str, int]]) -> None:
        """A runner gives back what it has not begun."""
        for job_id, attempt in keys:
            found = seat.take_off(job_id, attempt)
            if found is None:
                continue
            lane, run = found
            seat.jobs -= 1
            lane.held -= 1
            # The worker may have thought that it has begun by now.
            run.started = None
            self._give_back(lane, [run])
        self._engine.recount(seat)

    def give_back(self, lane: Lane) -> None:
        """Give back claimed jobs that wait here for a runner. Suspects stay: they wait for one to be empty."""
        waiting = [run for run in lane.pending if not run.claim.suspect]
        for run in waiting:
            lane.forget(run)
        self._give_back(lane, waiting)

    def _give_back(self, lane: Lane, runs: list[Run]) -> None:
        for run in runs:
            if not run.settled:
                run.settled = True
                self._engine.spawn(self._hand_back(lane, run, "unstarted"))

    async def _hand_back(self, lane: Lane, run: Run, mode: Mode, failure: bytes = b"", group: str = "") -> None:
        if run.started is not None:
            run.run_s = time.monotonic() - run.started
        await self._persist(lane, run, lambda: self._claims.hand_back(run.id, run.attempt, mode, failure, group, usage=_usage(run)))

    # -- the worker stops -------------------------------------------------------------------------------------------------

    async def give_up_waiting(self) -> None:
        """Put back what has not started: tickets and claims that wait here."""
        for lane in self._engine.lanes.values():
            ids = [job_id for job_id, _ in lane.inbox]
            lane.inbox.clear()
            for i in range(0, len(ids), 100):
                await self._claims.requeue(ids[i : i + 100])
            waiting = list(lane.pending)
            lane.pending.clear()
            lane.held -= len(waiting)
            await self._hand_back_all([(lane, run) for run in waiting])

    async def hand_all_back(self) -> None:
        """Give back what still runs; its runners are about to be ended."""
        await self._hand_back_all([(lane, run) for lane, run in self._engine.runs.values() if not run.settled])

    async def _hand_back_all(self, held: list[tuple[Lane, Run]]) -> None:
        for _, run in held:
            run.settled = True
        await asyncio.gather(*[self._release(lane, run) for lane, run in held])

    async def _release(self, lane: Lane, run: Run) -> None:
        # Only a job that must not run twice ends here, and needs a reason.
        reason = b""
        if run.claim.policy.delivery == "at_most_once":
            reason = JobFailure("worker-lost", "The worker was stopped before the job had ended.", run.attempt).to_json()
        await self._hand_back(lane, run, "unstarted" if run.started is None else "release", reason)


def _usage(run: Run) -> bytes:
    """What this attempt has used (JSON), as far as it has told; empty = it never began."""
    if run.started is None and not run.run_s:
        return b""
    batch: dict[str, float] = {}
    if run.batch_size and run.started is not None:
        batch = {"batch_size": run.batch_size, "batch_wait_s": round(run.started - run.since, 6)}
    return orjson.dumps({"run_s": round(run.run_s, 6), **batch, **(orjson.loads(run.usage) if run.usage else {})})


def _stop_failure(run: Run, code: str, detail: str) -> JobFailure:
    if run.stopped_by is None:
        return JobFailure(code, detail, run.attempt)
    if run.stopped_by == "fenced":
        detail += " Its process holds other jobs too and was not ended: the work may still go on there, and its result will not count."
    return JobFailure(code, detail, run.attempt, stopped_by=run.stopped_by, run_s=round(run.run_s, 3), stop_s=round(run.stop_s, 3))


def groups_of(job_ids: Sequence[str]) -> dict[str, str]:
    """The suspects of one crash in up to four groups: job id → group.

    Each group runs on its own, and the one that crashes again is divided again: a culprit among n is alone after log4 n crashes, an
    innocent runs that often at most, and n jobs whose runner died for another reason take four times as long, not n times.
    """
    crash = secrets.token_hex(4)
    return {job_id: f"{crash}-{number % _PARTS}" for number, job_id in enumerate(job_ids)}
