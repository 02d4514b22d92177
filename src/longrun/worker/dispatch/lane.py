"""A lane in the worker: tickets that came in, claims that wait for a runner, and which of them go when."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any

from longrun.blobs.contract import Blobs
from longrun.jobs.file_refs import FileRef, referenced
from longrun.log import Log
from longrun.models import ModelSpec
from longrun.store.claims import Claim
from longrun.worker.blame import once_more
from longrun.worker.dispatch.batching import (
    AHEAD_BELOW_S,
    LONG_S,
    CautiousMean,
    Pace,
    batch_key,
    jobs_ahead,
    queues_of,
    wait_before_batch,
    wait_behind_batch,
)
from longrun.worker.dispatch.histograms import SIZES, WAITS, Histogram
from longrun.worker.run import Run, Sink
from longrun.worker.supervise.seat import Group, Seat

log = Log("longrun.worker")
#: Inputs that are read at once for their batch keys: they are large.
_READS = 4
#: Seconds for which claimed jobs wait for a runner that is not there, or is kept for others, before they go back.
_SHUT_S = 1.0


class Lane:
    """Jobs of one model in one queue.

    Args:
        spec: the model.
        group: of its runners.
        on_timer: called when a batch may be complete by now: `dispatch` is to be called again.
    """

    def __init__(self, spec: ModelSpec, group: Group, on_timer: Callable[[Lane], None]) -> None:
        self.spec, self.seats, self._on_timer = spec, group.seats, on_timer
        self.name, self.model, self.batched = spec.lane, spec.name, spec.batched
        self.concurrency = group.settings.models[spec.name]
        #: Job id and sink of tickets not yet claimed; filled by the hub's thread, emptied by the engine's.
        self.inbox: deque[tuple[str, Sink]] = deque()
        self.pending: deque[Run] = deque()  #: claimed, waiting for a runner
        self.apart: list[Run] = []  #: those that wait for a runner that their group has to itself
        #: Those that waited for steps in a runner, and go on when there is room in that one, before what is pending.
        self.resuming: dict[Seat, deque[Run]] = {}
        self.held = 0  #: claims under way, waiting here or sent, and not parked; written by the engine's thread only
        self.capacity = 0  #: how many jobs the ready runners can hold
        self._shut_since: float | None = None  #: no runner takes jobs of anybody since then
        self.was_full = True  #: the hub found no room when it looked last
        self.slow = False  #: a job has been running for longer than jobs that are sent ahead may wait: none is, until it ends
        self.has_steps = False  #: a job has waited for steps: none is sent ahead, which would begin before older trees have ended
        self.mean, self.pace = CautiousMean(), Pace()
        #: Items of each batch, and how long each item waited for its start since its claim (seconds).
        self.sizes, self.waits = Histogram(SIZES), Histogram(WAITS)
        self._reading = asyncio.Semaphore(_READS)
        self._gap_ms: float | None = None
        self._last_arrival = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._batch = 0

    def free(self) -> int:
        """How many more tickets may be taken. Read by the hub's thread: at worst it is too small for a moment."""
        return max(0, self.capacity - self.held - len(self.inbox))

    def ahead(self) -> int:
        """Jobs (batches) that may wait inside a runner beside those that run: only short ones, so that none waits behind a long one."""
        if self.spec.is_async or self.slow or self.has_steps:
            return 0
        if self.batched is not None:
            return 1 if self.mean.value is not None and self.mean.value < AHEAD_BELOW_S else 0
        return jobs_ahead(self.mean.value)

    def is_slow(self, now: float) -> bool:
        """What `slow` is to be. A batch of short jobs says nothing about the next one, which may be long."""
        if self.batched is not None or self.spec.is_async:
            return False
        seats = (seat for seat in self.seats if seat.role != "apart")
        runs = (run for seat in seats for run in islice(self.aboard(seat), self.concurrency))
        return any(run.started is not None and now - run.started > LONG_S for run in runs)

    def is_shut(self, now: float) -> bool:
        """Whether no runner has taken jobs of anybody for a while."""
        return self._shut_since is not None and now - self._shut_since > _SHUT_S

    # -- room in the runners ----------------------------------------------------------------------------------------------

    def aboard(self, seat: Seat) -> Collection[Run]:
        """Runs of this lane that were sent there and not answered, in that order."""
        return seat.aboard[self.name].values()

    def count_capacity(self) -> None:
        """Work out `capacity` anew, after a runner came or went or the mean running time moved."""
        ahead = self.ahead()
        if self.batched and self.batched.key:
            ahead *= 2  # of several keys, so that one of them fills a batch
        serving = [seat for seat in self.seats if self._is_open(seat)]
        items = sum(self.batch_size(seat) for seat in serving)
        # A batch that runs takes no more items, however small it is: what it has left is no room.
        gone = sum(self._unfilled(seat) for seat in serving) if self.batched else 0
        # What a retiring runner, or one for suspects, still holds takes no place in these.
        aside = sum(len(self.aboard(seat)) for seat in self.seats if seat.role in ("retiring", "apart") or seat.kept)
        self.capacity = items * (self.concurrency + ahead) + aside - gone
        self._shut_since = None if serving else self._shut_since or time.monotonic()

    def batch_size(self, seat: Seat) -> int:
        """Most items of a batch there, 1 when the model takes none."""
        return min(self.batched.max_size, seat.fits.get(self.model, self.batched.max_size)) if self.batched is not None else 1

    def _unfilled(self, seat: Seat) -> int:
        """How many more items the batches that were sent there could have had."""
        sizes = {run.batch: run.batch_size for run in self.aboard(seat)}
        return sum(max(0, self.batch_size(seat) - size) for size in sizes.values())

    def has_clogged(self, seat: Seat) -> bool:
        """Whether runs that were given up, and go on all the same, take half of the places there: it gets no more jobs.

        The next runner takes over from this one, which `Limits` ends as soon as it holds nothing else.
        """
        given_up = {run.batch if self.batched else run for run in self.aboard(seat) if run.settled}
        if given_up and self.batched:
            given_up -= {run.batch for run in self.aboard(seat) if not run.settled}
        return len(given_up) * 2 >= self.concurrency

    def _is_open(self, seat: Seat) -> bool:
        return seat.serves(self.model) and not seat.kept and not self.has_clogged(seat)

    def room(self, seat: Seat) -> int:
        """How many more jobs (batched: batches) may be sent there now."""
        if not self._is_open(seat):
            return 0
        first = len(self.resuming[seat]) if seat in self.resuming else 0
        return self._left(seat, self.concurrency + self.ahead() - first)

    def room_for_group(self, seat: Seat, group: str) -> int:
        """As `room`, for suspects of `group`, which has the runner to itself."""
        # None is sent ahead: a suspect that is there when the runner crashes must have begun.
        return self._left(seat, self.concurrency) if seat.admits(self.model, group) else 0

    def items_for_group(self, group: str) -> int:
        """How many more suspects of `group` may be sent, in batches or not."""
        return sum(self.room_for_group(seat, group) * self.batch_size(seat) for seat in self.seats)

    def _left(self, seat: Seat, most: int) -> int:
        runs = self.aboard(seat)
        return max(0, most - (len(runs) if self.batched is None else len({run.batch for run in runs})))

    # -- runs that go on --------------------------------------------------------------------------------------------------

    def resume_later(self, seat: Seat, run: Run) -> None:
        """A parked run is to go on: a place is kept for it."""
        run.parked = False
        self.held += 1
        self.resuming.setdefault(seat, deque()).append(run)

    def next_to_resume(self, seat: Seat) -> Run | None:
        """The next that goes on there, if there is room: fewer than run at once, for its code is in the middle and runs at once."""
        runs = self.resuming.get(seat)
        if not runs or len(self.aboard(seat)) >= self.concurrency:
            return None
        run = runs.popleft()
        if not runs:
            del self.resuming[seat]
        return run

    def give_up_resuming(self, seat: Seat, run: Run) -> None:
        """A run that was to go on does not."""
        self.resuming[seat].remove(run)
        if not self.resuming[seat]:
            del self.resuming[seat]

    # -- jobs that wait ---------------------------------------------------------------------------------------------------

    def add(self, run: Run) -> None:
        """A claimed job waits for a runner."""
        now = time.monotonic()
        if self._last_arrival:
            gap = (now - self._last_arrival) * 1000
            self._gap_ms = gap if self._gap_ms is None else self._gap_ms * 0.8 + gap * 0.2
        self._last_arrival = now
        (self.apart if run.group else self.pending).append(run)

    def may_run_alone(self, run: Run) -> bool:
        """Whether a run for which memory was short beside others may run again, by itself: once, and only if it has yielded nothing."""
        return not (run.settled or run.stop or run.claim.suspect or self.spec.streams or run.once)

    def run_alone(self, run: Run) -> None:
        """Have the run go again, in the same attempt, in a runner that holds nothing else."""
        run.begin_anew(once_more(run.id))
        self.apart.append(run)

    def mix(self, group: str) -> None:
        """Runs of this group have no runner to themselves any longer."""
        for run in [run for run in self.apart if run.group == group]:
            self.apart.remove(run)
            run.group = ""
            self.pending.append(run)

    async def keys(self, claims: Sequence[Claim | None], blobs: Blobs, within: float) -> list[tuple[Any, ...]]:
        """What the batches of jobs must share with them. Inputs that are kept as files are read for so many seconds at most."""
        if self.batched is None or not self.batched.key:
            return [()] * len(claims)
        large = {claim.id: self._read_key(claim.id, ref, blobs, within) for claim in claims if claim and (ref := referenced(claim.input))}
        read = dict(zip(large, await asyncio.gather(*large.values()), strict=True))
        return [(read.get(claim.id) or batch_key(self.batched.key, claim.input)) if claim else () for claim in claims]

    async def _read_key(self, job_id: str, ref: FileRef, blobs: Blobs, within: float) -> tuple[Any, ...]:
        """Where it cannot be read, the job shares its batch with nobody, and the runner, which will find the same, reports it."""
        assert self.batched is not None
        try:
            async with asyncio.timeout(within), self._reading:
                return batch_key(self.batched.key, await blobs.read(ref.key, ref.size))
        except Exception as error:
            log.warning("input cannot be read for its batch key", file=ref.id, reason=str(error) or type(error).__name__)
            return (job_id,)

    def dispatch(self) -> list[tuple[Seat, Run]]:
        """Send what can go now; returns what was sent. When a batch should fill up first, come back by timer."""
        sent = self._dispatch_apart() if self.apart else []
        while self.pending:
            seat = max(self.seats, key=self.room)
            room = self.room(seat)
            if room <= 0:
                break
            if self.batched is None:
                sent += self._send(seat, [self.pending.popleft() for _ in range(min(room, len(self.pending)))])
            else:
                batch, wait = self._next_batch(seat)
                if not batch:
                    self._come_back(wait / 1000)
                    break
                sent += self._send(seat, batch)
        return sent

    def _dispatch_apart(self) -> list[tuple[Seat, Run]]:
        sent: list[tuple[Seat, Run]] = []
        for group in dict.fromkeys(run.group for run in self.apart):
            for seat in [seat for seat in self.seats if seat.admits(self.model, group)]:
                while (room := self.room_for_group(seat, group)) and (runs := self._next_of(group, room, seat)):
                    sent += self._send(seat, runs)
        return sent

    def _next_of(self, group: str, room: int, seat: Seat) -> list[Run]:
        """The next of a group of suspects. A batch is one call, so it takes one place; its runs have the batch key of the first."""
        mates = [run for run in self.apart if run.group == group]
        chosen = [run for run in mates if run.key == mates[0].key][: self.batch_size(seat)] if self.batched else mates[:room]
        self.apart = [run for run in self.apart if run not in chosen]
        return chosen

    def _next_batch(self, seat: Seat) -> tuple[list[Run], float]:
        """What goes to the seat now; when nothing does, in how many milliseconds something may."""
        waits = []
        for mates in queues_of(self.pending):
            wait = self._wait_ms(seat, mates)
            if wait <= 0:
                return self._take(mates[: self.batch_size(seat)]), 0.0
            waits.append(wait)
        return [], min(waits)

    def _take(self, chosen: list[Run]) -> list[Run]:
        gone = set(chosen)
        self.pending = deque(run for run in self.pending if run not in gone)
        return chosen

    def _wait_ms(self, seat: Seat, mates: list[Run]) -> float:
        assert self.batched is not None
        now, size = time.monotonic(), self.batch_size(seat)
        ahead_of_us = {run.batch: run for run in self.aboard(seat)}
        if len(ahead_of_us) >= self.concurrency:
            first = next(iter(ahead_of_us.values()))
            return wait_behind_batch(len(mates), size, (now - (first.started or now)) * 1000, self._expected_ms(first))
        waited = (now - min(run.since for run in mates)) * 1000
        return wait_before_batch(len(mates), size, waited, self.batched.max_wait_ms, self._gap_ms)

    def _expected_ms(self, run: Run) -> float | None:
        expected = self.pace.expect(run.batch_size)
        return None if expected is None else expected * 1000

    def _come_back(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + delay
        if self._timer is not None and not self._timer.cancelled() and loop.time() <= self._timer.when() <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(at, self._on_timer, self)

    def _send(self, seat: Seat, runs: list[Run]) -> list[tuple[Seat, Run]]:
        if not runs:
            return []
        if self.batched is not None:
            self._batch += 1
            self.sizes.add(len(runs))
            for run in runs:
                run.batch, run.batch_size = self._batch, len(runs)
        seat.send(self.model, runs)
        if self.batched is not None or seat.kept:
            self.count_capacity()
        self.begin_next(seat)
        return [(seat, run) for run in runs]

    def begin_next(self, seat: Seat) -> None:
        """Note which of the jobs there run by now: the first `concurrency` of them, or of their batches, in the order they were sent."""
        aboard, now = self.aboard(seat), time.monotonic()
        if self.batched is None:
            for run in islice(aboard, self.concurrency):
                if run.started is None:
                    run.begin(now)
            return
        first = list(dict.fromkeys(run.batch for run in aboard))[: self.concurrency]
        group = [run for run in aboard if run.batch in first and run.started is None]
        for run in group:
            run.begin(now)
            self.waits.add(now - run.since)
        for run in group:
            # A batch is one call: it has the time limits of its longest item.
            run.deadline = max(other.deadline or now for other in group if other.batch == run.batch)
            run.hard = max(other.hard or now for other in group if other.batch == run.batch)
