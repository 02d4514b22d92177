"""What runs ask of the store while they run steps: one request of a run after the other, in order, until it is answered.

`frames` says what each request and answer holds. A store that is away or full, or whose data an older process works on, is asked again;
the run goes on, or stays parked, meanwhile. A run whose claim is stale, or that is to stop, gets `stale`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import orjson

from longrun.errors import LongrunError, StorageFull, StoreUnavailable
from longrun.log import Log
from longrun.store.steps import Answer, OldFormat, Refused, Steps, StillStops
from longrun.worker.emitter import Emitter
from longrun.worker.parking import Parking
from longrun.worker.run import Asking, Run
from longrun.worker.step_calls import Row, StepCalls, as_bytes, files_named, first_of, note_due, refusal, rows_of, terms_of, whole
from longrun.worker.supervise.seat import Seat
from longrun.worker.tables import Spawn, Tables

log = Log("longrun.worker")
T = TypeVar("T")
#: Requests of one run that may wait for their answers. Of entries and file ids in one of them, so many go to the store at once.
MOST_REQUESTS, _PIECE = 1000, 100
_PAUSE, _SOON = 1.0, 0.1
#: Requests that are answered under their number, the first of their members.
_NUMBERED = frozenset({"ask", "journal", "history", "files"})
_WRITES, _READS = frozenset({"journal", "drop", "unsignal"}), frozenset({"history", "files"})


@dataclass(frozen=True, slots=True)
class Request:
    """One of a run."""

    seat: Seat
    run: Run
    asking: Asking
    name: str
    members: Sequence[Any]

    @property
    def here(self) -> bool:
        """Whether the runner still waits for an answer."""
        return self.seat.find(self.run.id, self.run.fence) is self.run

    @property
    def wanted(self) -> bool:
        """Whether the store is asked.

        What was paid for is kept until the outcome is written, also when the runner has died meanwhile. No step is begun for a run that is
        to stop, and nothing is asked for one that is lost.
        """
        if self.run.stop == "lost":
            return False
        if self.name in _WRITES:
            return True
        return self.here and not self.run.settled and (self.run.stop is None or self.name in _READS)

    def answer(self, name: str, *members: Any) -> None:
        """Send a frame about the run, unless its runner is another one by now."""
        if self.here:
            self.seat.answer(name, self.run, *members)

    def refuse(self) -> None:
        """Its claim is stale, or it is to stop, or nobody can read it."""
        if self.name in _NUMBERED and self.members and isinstance(self.members[0], int):
            self.answer("stale", self.members[0])


@dataclass(slots=True)
class StepRequests:
    """Answers the requests of runners."""

    tables: Tables
    steps: Steps
    emitter: Emitter  #: writes events first, of files above all, which steps may name
    parking: Parking
    calls: StepCalls
    spawn: Spawn

    def take(self, seat: Seat, name: str, job_id: str, fence: Any, members: Sequence[Any]) -> None:
        """A runner has sent this request for a run."""
        run = seat.find(job_id, fence)
        if run is None:
            return  # it has ended, or was given up
        if run.started is None:
            # It was sent ahead, and began before the worker has heard of the end, or the wait, of the one before it.
            run.begin(time.monotonic())
        if run.asking is None:
            run.asking = Asking()
        crowded = len(run.asking.requests) >= MOST_REQUESTS
        if crowded or run.settled:
            Request(seat, run, run.asking, name, members).refuse()
        else:
            self._put(seat, run, run.asking, name, members)
        if crowded:
            log.warning("a job asks for more at once than is answered", job_id=run.id, attempt=run.attempt, request=name)

    def resume(self, seat: Seat, run: Run) -> None:
        """A parked run has its slot again."""
        assert run.asking is not None
        self._put(seat, run, run.asking, "resume", ())

    def _put(self, seat: Seat, run: Run, asking: Asking, name: str, members: Sequence[Any]) -> None:
        asking.requests.append(Request(seat, run, asking, name, members))
        if not asking.answering:
            asking.answering = True
            self.spawn(self._answer_all(asking))

    async def _answer_all(self, asking: Asking) -> None:
        try:
            while asking.requests:
                await self._answer(asking.requests.popleft())
        finally:
            asking.answering = False

    async def _answer(self, request: Request) -> None:
        if not request.wanted:
            request.refuse()
            return
        try:
            if request.name in _NUMBERED:
                whole(request.members[0])
            await _HANDLERS[request.name](self, request)
        except (TypeError, ValueError, LookupError) as error:
            log.error("a request of a runner cannot be read", job_id=request.run.id, request=request.name, error=str(error))
            self._give_up(request)
        except LongrunError as error:
            log.error("the store refuses a request of a job", job_id=request.run.id, request=request.name, exc_info=error)
            self._give_up(request)
        except Exception as error:
            log.error("a request of a job could not be answered", job_id=request.run.id, request=request.name, exc_info=error)
            self.parking.stop(request.run, "lost")

    def _give_up(self, request: Request) -> None:
        """No answer is to be had. A parked run, which has asked for nothing, would wait for ever: it runs again when its lease is over."""
        if request.name == "resume":
            self.parking.stop(request.run, "lost")
        else:
            request.refuse()

    async def _until_done(self, request: Request, work: Callable[[], Awaitable[T]]) -> T | None:
        """What the store answers, however long it takes. None: the claim is stale, or the run is to stop or has ended."""
        run = request.run
        while request.wanted:
            try:
                await self.emitter.flush(run)
                return await work()
            except StillStops:
                await asyncio.sleep(_SOON)
            except (StorageFull, StoreUnavailable, OldFormat) as error:
                log.warning("a step waits for the store", job_id=run.id, attempt=run.attempt, reason=str(error))
                await asyncio.sleep(_PAUSE)
        return None

    # -- steps ------------------------------------------------------------------------------------------------------------

    async def _ask(self, request: Request) -> None:
        (n, seen, need, until, items), run, asking = request.members, request.run, request.asking
        if run.waits:
            self.parking.rouse(run)  # who asks is awake, whatever was said before
        if run.waiting:
            await self._go_on(request)
        files = await self._read_files(request, files_named(items))
        if files is None:
            request.refuse()
            return
        calls, rows = self.calls.read(run, items, files)
        # Who is refused something does not wait.
        need, seen, until = 0 if rows else whole(need), asking.seen if whole(seen) < 0 else seen, whole(until)
        terms, asking.woken = terms_of(self.tables.lane_of(run).spec.options, self.calls.settings), 0.0
        try:
            answer = await self._until_done(
                request,
                lambda: self.steps.ask(run.id, run.fence, calls, seen=seen, need=need, terms=terms, until=first_of(asking.due, until)),
            )
        except Refused as error:
            rows += [refusal(call.key, error.code, error.detail) for call in calls]
            request.answer("answer", n, seen, False, int(time.time() * 1000), rows)
            return
        if answer is not None and need > 0 and not answer.waits and all(result.state == "pending" for result in answer.results):
            # It does not wait, for something has ended that is not among the calls: with that.
            more = await self._ends(request, answer.ended, go=False)
            answer = more and replace(more, waits=False, results=answer.results + more.results)
        if answer is not None:
            run.waiting = answer.waits
            if run.stop is None:
                self._has_asked(request, answer, rows, until)
                return
        request.refuse()

    async def _ends(self, request: Request, seen: int, *, go: bool) -> Answer | None:
        """What has ended after `seen`. All but the last results are sent at once, by pieces: all together may be more than memory holds."""
        run = request.run
        while True:
            answer = await self._until_done(request, partial(self.steps.resume, run.id, run.fence, seen, go=go))
            if answer is None or not answer.more:
                return answer
            self._report(request, 0, replace(answer, waits=True))
            seen = answer.ended
            await request.seat.has_room()

    def _has_asked(self, request: Request, answer: Answer, rows: list[Row], until: int) -> None:
        self._report(request, request.members[0], answer, rows)
        if answer.waits and request.here:
            first = first_of(request.asking.due, until)
            self.parking.park(request.seat, request.run, (first - answer.now) / 1000 if first else None)

    @staticmethod
    def _report(request: Request, n: int, answer: Answer, refused: Sequence[Row] = ()) -> None:
        asking = request.asking
        asking.seen = answer.ended
        note_due(asking.due, answer.results)
        request.answer("answer", n, answer.ended, answer.waits, answer.now, [*refused, *rows_of(answer)])

    async def _resume(self, request: Request) -> None:
        if request.run.waits and self.parking.holds_slot(request.seat, request.run):  # it has not asked for more since, and waits again
            await self._go_on(request)

    async def _awake(self, request: Request) -> None:
        () = request.members
        if self.parking.rouse(request.run):
            await self._go_on(request)

    async def _go_on(self, request: Request) -> None:
        """A run that waited has its slot: first the store says `running`, then its code goes on."""
        run, asking = request.run, request.asking
        answer = await self._ends(request, asking.seen, go=True)
        if answer is not None:
            run.waiting = False
        if not request.here or run.stop is not None:
            return
        if run.waits:
            run.go_on(time.monotonic())
        if answer is None:
            request.answer("stale", 0)
        else:
            self._report(request, 0, replace(answer, waits=False))

    async def _drop(self, request: Request) -> None:
        (keys,), run = request.members, request.run
        for key in keys:
            request.asking.due.pop(key, None)
        await self._until_done(request, lambda: self.steps.drop(run.id, run.fence, [str(key) for key in keys]))

    async def _unsignal(self, request: Request) -> None:
        (name,), run = request.members, request.run
        await self._until_done(request, lambda: self.steps.forget_signal(run.id, run.fence, str(name)))

    # -- the journal, and files -------------------------------------------------------------------------------------------

    async def _journal(self, request: Request) -> None:
        (n, entries, stop), run = request.members, request.run
        pairs, losers = [(str(key), as_bytes(text)) for key, text in entries], [str(key) for key in stop]
        kept: list[bytes] = []
        for at in range(0, max(len(pairs), 1), _PIECE):
            write = partial(self.steps.journal, run.id, run.fence, pairs[at : at + _PIECE], losers if at == 0 else ())
            values = await self._until_done(request, write)
            if values is None:
                request.refuse()
                return
            kept += values
        request.answer("kept", n, kept)

    async def _history(self, request: Request) -> None:
        (n,), run = request.members, request.run
        found = await self._until_done(request, lambda: self.steps.history(run.id, run.fence))
        if found is None:
            request.refuse()
        else:
            request.answer("history", n, *found)

    async def _files(self, request: Request) -> None:
        n, ids = request.members
        found = await self._read_files(request, {str(each) for each in ids})
        if found is None:
            request.refuse()
        else:
            request.answer("files", n, orjson.dumps(found))

    async def _read_files(self, request: Request, ids: Iterable[str]) -> dict[str, Any] | None:
        """Records of files that the run's tenant has: id → members. None: as `_until_done`."""
        found, wanted, run = dict[str, Any](), list(ids), request.run
        for at in range(0, len(wanted), _PIECE):
            refs = await self._until_done(request, partial(self.steps.files, run.id, run.fence, wanted[at : at + _PIECE]))
            if refs is None:
                return None
            found |= {ref.id: ref.members() for ref in refs}
        return found


_HANDLERS: Mapping[str, Callable[[StepRequests, Request], Awaitable[None]]] = {
    "ask": StepRequests._ask,
    "resume": StepRequests._resume,
    "awake": StepRequests._awake,
    "drop": StepRequests._drop,
    "unsignal": StepRequests._unsignal,
    "journal": StepRequests._journal,
    "history": StepRequests._history,
    "files": StepRequests._files,
}
