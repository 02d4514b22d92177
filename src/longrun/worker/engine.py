"""The engine: an asyncio loop on its own thread that claims, dispatches, renews leases and writes outcomes.

Nothing here runs user code and nothing here blocks, so heartbeats go out whatever the models do. The Celery side (`celery.pool`) hands
tickets in by `take`, and is notified of what became of them by `Sink` calls, which `pump` makes on the hub's thread. What a job goes
through here stands in `run`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from longrun.errors import LongrunError
from longrun.log import Log
from longrun.settings import without_settings
from longrun.steps import await_steps, log_failure
from longrun.store.claims import Suspect
from longrun.worker.announce import announce_for_ever
from longrun.worker.dispatch.lane import Lane
from longrun.worker.emitter import Emitter
from longrun.worker.leases import Leases
from longrun.worker.limits import Limits
from longrun.worker.parking import Parking
from longrun.worker.plan import WorkerPlan
from longrun.worker.recycle import Recycler
from longrun.worker.run import Run, Sink
from longrun.worker.runner.copies import remove_left
from longrun.worker.runner.settings import RunnerSettings
from longrun.worker.settle import Settler
from longrun.worker.step_calls import StepCalls
from longrun.worker.steps import StepRequests
from longrun.worker.stopping import StopReason
from longrun.worker.supervise.cores import find_cores
from longrun.worker.supervise.devices import visible_gpus
from longrun.worker.supervise.exits import Exit
from longrun.worker.supervise.guard import Guard
from longrun.worker.supervise.layout import concurrency_of, lay_out
from longrun.worker.supervise.seat import Group, Seat
from longrun.worker.supervise.terms import Terms
from longrun.worker.suspects import Suspects
from longrun.worker.tables import Tables

log = Log("longrun.worker")
#: Seconds for the store to take back what a stopping worker holds; and when it is to stop at once.
_PATIENCE, _HURRY = 3.0, 0.5


class Engine:
    """See the module. `wake` makes the hub's thread call `pump` soon, and may be called from any thread."""

    def __init__(self, plan: WorkerPlan, wake: Callable[[], None]) -> None:
        self.plan, self._wake = plan, wake
        self.settings = plan.settings
        self.tables = Tables()
        self.guard = Guard(without_settings(os.environ))
        self.channel_waits: Callable[[], bool] = lambda: False  #: whether the channel that takes tickets blocks on wake lists
        #: Takes jobs as if their tickets had come, on the hub's thread; set when Celery's consumer is there.
        self.hand_in: Callable[[Sequence[Suspect]], None] = lambda _: None
        self.hurry, self._stop_asked = False, 0.0
        self._claiming = self._nonces = 0
        self._done: Future[None] | None = None
        self._outbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._woken = self._draining = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._build()
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.thread = threading.Thread(target=self._main, name="engine", daemon=True)

    def _build(self) -> None:
        for runners in lay_out(self.plan.specs, self.settings, visible_gpus(), find_cores(), os.environ):
            specs, terms = runners.specs, Terms.of(runners.specs)
            main_thread = any(spec.options.main_thread for spec in specs)
            models = {spec.name: concurrency_of(spec, self.settings) for spec in specs}
            settings = RunnerSettings.of(
                self.settings,
                target=self.plan.target,
                models=models,
                load_timeout=terms.load_timeout,
                main_thread=main_thread,
                service=self.plan.given,
            )
            group = Group(settings, terms, [spec.lane for spec in specs])
            group.seats.extend(Seat(group, place, self._on_frame, self._on_end, self.guard) for place in runners.places)
            self.tables.groups.append(group)
            self.tables.lanes |= {spec.lane: Lane(spec, group, self.dispatch) for spec in specs}

    # -- the hub's thread -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; returns when its loop turns (models load on)."""
        self.thread.start()
        while not self._ready.wait(0.1):
            if not self.thread.is_alive():
                raise RuntimeError("the worker's engine could not be started")

    def take(self, tickets: Iterable[tuple[str, str, Sink]]) -> None:
        """Tickets came in: lane, job id, and whom to notify."""
        for lane, job_id, sink in tickets:
            self.tables.lanes[lane].inbox.append((job_id, sink))
        if not self._draining:
            self._draining = True
            self.loop.call_soon_threadsafe(self._drain)

    def cancel_waiting(self, job_id: str) -> None:
        """A job that waits was revoked, and its ticket dropped. It must not wait for ever because of that."""
        plan, cancel = self.plan, self.settler.cancel_waiting
        self.loop.call_soon_threadsafe(lambda: self.spawn(cancel(job_id, self._new_nonce(), plan.identity, plan.name)))

    def cancel(self, job_id: str) -> None:
        """Stop this job, if it is here, and no other."""
        self.loop.call_soon_threadsafe(lambda: self.leases.cancel(job_id))

    def free_slots(self) -> list[tuple[str, int]]:
        """Lanes and how many more tickets each may take."""
        if self.tables.closing:
            return []
        slots = [(name, lane.free()) for name, lane in self.tables.lanes.items()]
        for name, free in slots:
            self.tables.lanes[name].was_full = free == 0
        return slots

    def pump(self) -> None:
        """Make the `Sink` calls that are due."""
        self._woken = False
        while self._outbox:
            call, args = self._outbox.popleft()
            try:
                call(*args)
            except Exception as error:
                if not self.tables.closing:
                    raise
                log_failure("report to Celery what became of a job", error)

    def stop_taking(self) -> None:
        """Take no more work from now on; called again: do not wait for running jobs either. May be called by a signal handler."""
        if self.tables.closing:
            self.hurry = True
        else:
            self.tables.closing, self._stop_asked = True, time.monotonic()
        self._wake()

    def stop(self, grace: float) -> None:
        """Stop: let running jobs finish until `grace` seconds after `stop_taking`, hand the rest back, end all runners.

        May be called again, with less grace, also by a signal handler that interrupts the first call.
        """
        if not self.tables.closing:
            self.stop_taking()
        if grace <= 0:
            self.hurry = True
        if not self.thread.is_alive():
            return
        if self._done is None:
            self._done = asyncio.run_coroutine_threadsafe(self._shutdown(self._stop_asked + grace), self.loop)
        while self.thread.is_alive() and not self._done.done():
            # The hub does not turn while Celery waits for its pool.
            self.pump()
            time.sleep(0.005)
        self.pump()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)

    # -- the engine's thread ----------------------------------------------------------------------------------------------

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.store = self.plan.open_store()
        claims, tables, spawn, recount = self.store.claims, self.tables, self.spawn, self.recount
        plan, settings, steps = self.plan, self.settings, self.store.steps
        self.emitter = Emitter(claims, spawn, lambda run: self._request_stop(run, "lost"))
        self.settler = Settler(tables, claims, self.emitter, spawn, recount, self.post, steps)
        self.recycler = Recycler(tables, self.guard, spawn, recount)
        grace, calls = settings.cancel_grace, StepCalls(plan.models, settings)
        self.parking = Parking(tables, self.settler, grace, settings.rehearse, recount, self._request_stop, self._resume)
        self.limits = Limits(tables, grace, self.settler, recount, self.recycler.replace, self.parking.rouse)
        self.requests = StepRequests(tables, steps, self.emitter, self.parking, calls, spawn)
        call = lambda found: self.post(lambda: self.hand_in(found))  # noqa: E731
        self.suspects = Suspects(self.plan.identity, tables, claims, self.settler, spawn, recount, call)
        self.leases = Leases(tables, claims, settings.lease, self._request_stop, spawn, self.parking.wake)
        for seat in tables.seats:
            self.spawn(seat.start())
        beat = partial(self.leases.beat_for_ever, self.settings.heartbeat)
        listen = partial(self.leases.listen_for_ever, self.store.follower, self.store.worker_channel(self.plan.identity))
        watching = self.limits.watch_for_ever, self.recycler.watch_for_ever, self.suspects.watch_for_ever, self.parking.watch_for_ever
        for essential in (beat, listen, *watching):
            self.spawn(self._keep(essential))
        self.spawn(announce_for_ever(self.plan, self.store, tables))
        self.loop.run_in_executor(None, remove_left)
        for background in self.plan.background:
            self.spawn(background(self.store))
        self.loop.call_soon(self._ready.set)
        self.loop.run_forever()

    def spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run a coroutine beside everything else; its error, if any, is logged."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                log.error("worker task failed", exc_info=error)

        task = self.loop.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @staticmethod
    async def _keep(work: Callable[[], Awaitable[None]]) -> None:
        """Run what the worker cannot do without, again after an error that nobody foresaw."""
        while True:
            try:
                await work()
            except Exception as error:
                log.error("worker task failed, it is started again", exc_info=error)
            await asyncio.sleep(1)

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """Have the hub's thread make a call: one wake-up for many."""
        self._outbox.append((call, args))
        if not self._woken:
            self._woken = True
            self._wake()

    def _request_stop(self, run: Run, reason: StopReason) -> None:
        self.limits.request_stop(run, reason)

    def _resume(self, seat: Seat, run: Run) -> None:
        self.requests.resume(seat, run)

    # -- from ticket to runner --------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        self._draining = False
        if self.tables.closing:
            return  # they go back
        for lane in self.tables.lanes.values():
            tickets = []
            while lane.inbox:
                lane.held += 1  # before the pop, so that `free` never counts a slot twice
                tickets.append(lane.inbox.popleft())
            if tickets:
                self._claiming += 1
                self.spawn(self._claim(lane, tickets))

    async def _claim(self, lane: Lane, tickets: list[tuple[str, Sink]]) -> None:
        device = lane.seats[0].place.device
        nonce = self._new_nonce()
        try:
            groups, company = self.suspects.admitted(lane)
            ids, plan = [job_id for job_id, _ in tickets], self.plan
            claims = await self.store.claims.claim_all(ids, nonce, plan.identity, device, name=plan.name, groups=groups, company=company)
            # No heartbeat knows of them yet, so this must not take long.
            keys = await lane.keys(claims, self.plan.blobs, self.settings.lease / 3)
        except Exception:
            # The notes in `doubt`, or the leases of claims that went through, bring the jobs back; the slots must not stay taken.
            lane.held -= len(tickets)
            for _, sink in tickets:
                self.post(sink.stale)
            raise
        finally:
            self._claiming -= 1
        for (_, sink), claim, key in zip(tickets, claims, keys, strict=True):
            if claim is not None:
                run = Run(claim, lane.name, sink, key, group=self.suspects.group_of(claim) if claim.suspect else "")
                if self.leases.hold(run):
                    lane.add(run)
                    continue
            lane.held -= 1
            self.post(sink.stale)
        self.dispatch(lane)

    def _new_nonce(self) -> str:
        """Of one claim: no other of this worker or of any other has it."""
        self._nonces += 1
        return f"{self.plan.identity}-{self._nonces}"

    def dispatch(self, lane: Lane) -> None:
        """Send waiting jobs of a lane to runners with room."""
        if self.tables.closing:
            return
        now = time.monotonic()
        sent = [(run.sink, seat.pid, now) for seat, run in lane.dispatch()]
        if sent:
            self.post(_accept, sent)

    def recount(self, seat: Seat) -> None:
        """The seat's runner came or went, or has room again: capacities change, waiting jobs of all its lanes may go."""
        for lane in self.tables.lanes_of(seat):
            lane.count_capacity()
            if lane.resuming:
                self.parking.resume_next(lane, seat)
            if lane.pending or lane.apart:
                self.dispatch(lane)
            self._credit_returned(lane)

    def _credit_returned(self, lane: Lane) -> None:
        """A lane may have room again: have the hub look, also when it blocks on the wake lists of other lanes."""
        if not lane.was_full or lane.free() == 0:
            return
        lane.was_full = False
        self.post(lambda: None)
        if len(self.tables.lanes) > 1 and self.channel_waits():
            self.spawn(self.store.claims.wake(self.plan.identity))

    # -- from the runner --------------------------------------------------------------------------------------------------

    def _on_frame(self, seat: Seat, frame: list[Any]) -> None:
        """A runner has sent a frame; what each means stands in `frames`."""
        match frame:
            case ["done", entries]:
                self.settler.on_done(seat, entries)
                self.recycler.on_done(seat)
                self.suspects.on_done(seat)
            case ["events", job_id, fence, events]:
                run = seat.find(job_id, fence)
                if run is not None and not run.settled:
                    self.emitter.add(run, events)
            case ["ask" | "journal" | "drop" | "unsignal" | "history" | "files" | "awake" as request, job_id, fence, *members]:
                self.requests.take(seat, request, job_id, fence, members)
            case ["back", keys]:
                self.settler.on_back(seat, keys)
            case ["pong", ping, gpu_memory]:
                if seat.has_answered(ping, gpu_memory):
                    self.recount(seat)
            case ["ready", model, load_s, warmup_s]:
                seat.has_loaded(model, load_s, warmup_s)
                self.recycler.on_ready(seat)
                self.recount(seat)
                self.suspects.wake()
                log.info("model ready", model=model, load_s=round(load_s, 3), warmup_s=round(warmup_s, 3), device=seat.place.device)
            case ["load-failed", _, failure]:
                seat.cause = failure
            case ["fits", model, size]:
                seat.fits[model] = size
                self.recount(seat)
                log.warning("batches of the model are of another size, for its memory", model=model, size=size, pid=seat.pid)

    def _on_end(self, seat: Seat, aboard: list[Run], doomed: set[Run], end: Exit) -> None:
        self.parking.has_ended(seat, aboard)
        self.recount(seat)
        self.settler.on_runner_end(aboard, doomed, end)
        if seat.role == "apart":
            self.suspects.has_ended(seat)
        elif not self.tables.closing and self.recycler.next_here(seat):
            self.spawn(seat.start())

    # -- stopping ---------------------------------------------------------------------------------------------------------

    async def _shutdown(self, end: float) -> None:
        await await_steps(
            (
                ("hand jobs back", lambda: self._wind_down(end)),
                ("leave the list of workers", self._leave),
                *(("end a runner", seat.close) for seat in self.tables.seats),
                ("end the guard", self.guard.close),
                *(("end a task of the worker", task.cancel) for task in tuple(self._tasks)),
                ("close the store", self.store.close),
            )
        )

    async def _leave(self) -> None:
        with suppress(LongrunError, TimeoutError):
            await asyncio.wait_for(self.store.claims.leave(self.plan.identity), _HURRY if self.hurry else 1)
        if self.tables.runs:
            # The store does not answer: their leases will run out.
            log.warning("worker stopped without handing everything back", jobs=len(self.tables.runs))

    async def _wind_down(self, end: float) -> None:
        """Until nothing is held here any more: what has not started goes back at once, and at `end` (or in a hurry) what runs."""
        back: set[asyncio.Task[Any]] = set()
        over: float | None = None
        while True:
            if any(lane.inbox or lane.pending or lane.apart for lane in self.tables.lanes.values()):
                # Also what was on its way when the order came: claims that are answered now, and tickets that were popped.
                back.add(self.spawn(self.settler.give_up_waiting()))
            now, back = time.monotonic(), {task for task in back if not task.done()}
            if not (self.tables.runs or self._claiming or back):
                return
            if over is None and (now >= end or self.hurry):
                over = now
                back.add(self.spawn(self.settler.hand_all_back()))
            if over is not None and now >= over + (_HURRY if self.hurry else _PATIENCE):
                return
            await asyncio.sleep(0.01)


def _accept(sent: list[tuple[Sink, int, float]]) -> None:
    for sink, pid, at in sent:
        sink.accepted(pid, at)
