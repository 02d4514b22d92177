"""One claimed job inside the worker, from its claim to its outcome.

| stage   | where                                | what it means                                                                     |
|---------|--------------------------------------|-----------------------------------------------------------------------------------|
| claimed | `Engine._claim`                      | the ticket named a job that could be claimed; heartbeats renew the claim from here |
| waiting | `Lane.add`                           | until a runner has room, or a batch is complete                                   |
| sent    | `Lane.dispatch`, `Seat.send`         | a runner has it, and perhaps others before it                                     |
| started | `Lane.begin_next`, `Run.begin`       | its code runs: time limits count                                                  |
| parked  | `Parking.park`, `.wake`, `.resume`   | its code waits for steps and holds no slot; woken, it takes the next one and goes on |
| let go  | `Parking.let_go`                     | parked too long, or its place is needed: its code is unwound, and runs again later  |
| ended   | `Settler.on_done`, `.on_runner_end`  | the runner has answered, or died; or nobody waits for the answer (`stopping`)     |
| settled | `Run.settle`, `Settler`              | its outcome is being written, and later ones are ignored                          |
| gone    | `Settler._finished`                  | the store has it: `Sink.finished` is called                                       |

From any stage before the last it may be handed back instead, and is then settled too.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from longrun.jobs.failure import StoppedBy
from longrun.jobs.fence import Fence
from longrun.jobs.flow import Flow
from longrun.store.claims import Claim
from longrun.worker.backlog import Backlog
from longrun.worker.stopping import StopReason, steps


class Sink(Protocol):
    """Who is notified of what becomes of a ticket: Celery's request, behind the seam. Methods are called on the hub's thread."""

    def accepted(self, pid: int, at: float) -> None:
        """The job was handed to the runner `pid` at monotonic time `at`."""

    def finished(self, status: str, run_s: float | None) -> None:
        """The job left the worker; `status` is what the store says of it now, `run_s` the seconds in its code."""

    def stale(self) -> None:
        """The ticket named nothing that can be claimed."""


@dataclass(slots=True, eq=False, repr=False)
class Asking:
    """What a run asks of the worker, see `steps`, and how far it has been answered."""

    requests: deque[Any] = field(default_factory=deque)  #: of type `steps.Request`: those that are not answered, in their order
    answering: bool = False  #: the first of them is being answered
    seen: int = -1  #: how many ends of its steps it has been told; -1 = none of them
    due: dict[str, int] = field(default_factory=dict)  #: when its sleeps and waits are over: ms by the server's clock, by key of the step
    timer: asyncio.TimerHandle | None = None  #: wakes it when the first sleep or wait is over
    woken: float = 0.0  #: when it was woken, perhaps before it waited; 0 = it was not


@dataclass(slots=True, eq=False, repr=False)
class Run:
    """See the module. Times are monotonic."""

    claim: Claim  #: what the store gave
    lane: str  #: name of its lane
    sink: Sink
    key: tuple[Any, ...] = ()  #: what all items of its batch share
    since: float = field(default_factory=time.monotonic)  #: when it was claimed
    waits_since: float = field(init=False)  #: when it began to wait for its code to be entered: then, or when it is to run again
    group: str = ""  #: of suspects, with which it runs and with nobody else; empty = with anybody
    # -- sent
    batch: int = 0  #: number of its batch; 0 = none
    batch_size: int = 0
    # -- started
    started: float | None = None  #: when its code began to run, as far as is known
    deadline: float | None = None  #: when it is asked to stop; `limit` says in words which limit that is
    hard: float | None = None  #: by when it must have ended: the deadline, unless there is a `soft_timeout`; `hard_limit` says which limit
    limit: str = ""
    hard_limit: str = ""
    # -- asked to stop
    stop: StopReason | None = None  #: why; at `stop_at`
    stop_at: float = 0.0
    exception_at: float = 0.0  #: when an exception is raised in its code; `interrupted` says that this was done
    interrupted: bool = False
    kill_at: float = 0.0  #: when its runner is ended
    stopped_by: StoppedBy | None = None  #: how it was stopped, and `stop_s` how long that took
    stop_s: float = 0.0
    # -- it waits for steps, see `parking`
    ran: float = (
        0.0  #: seconds that its code has run towards `timeout`, until it waited last; of this attempt and those that were let go before
    )
    waits: float = 0.0  #: since when its code waits for steps; 0 = it does not
    waited: float = 0.0  #: seconds that its code has waited for steps, in this attempt, until it went on last
    parked: bool = False  #: it holds no slot, and is not in `Lane.held`
    leaves: float = 0.0  #: when it was asked to unwind; 0 = it was not
    waiting: bool = False  #: the store says so, as far as is known: it takes no outcome before `Steps.resume`
    asking: Asking | None = None  #: what it asks for; None = nothing so far
    _counts_from: float = 0.0  #: since when running time counts
    # -- ended
    run_s: float | None = None  #: seconds in its code; None = that was not entered, as far as is known
    wait_s: float = 0.0  #: seconds that it waited before that
    settled: bool = False  #: an outcome is on its way to the store; whatever the runner still says is ignored
    # -- what it has said
    backlog: Backlog = field(default_factory=Backlog)  #: events that the store does not have yet
    writing: int = 0  #: writes of events under way
    flushing: bool = False  #: more of them will follow

    def __post_init__(self) -> None:
        self.waits_since = self.since

    @property
    def id(self) -> str:
        """The job's id."""
        return self.claim.id

    @property
    def attempt(self) -> int:
        """The number of its attempt."""
        return self.claim.attempt

    @property
    def fence(self) -> Fence:
        """Tells it from every other run of the job."""
        return self.claim.fence

    @property
    def once(self) -> bool:
        """Whether it must not be run a second time."""
        return self.claim.policy.delivery == "at_most_once"

    def begin(self, now: float) -> None:
        """Its code runs from now on: the time limits count."""
        self.started = now
        if self.claim.flow is not None:
            self.ran = self.claim.flow.ran_ms / 1000
        self._limit(now)

    def _limit(self, now: float) -> None:
        """Running time counts from now on, beside what it has run before; the total counts always."""
        policy, self._counts_from = self.claim.policy, now
        self.hard, self.hard_limit = now + max(0.0, policy.timeout - self.ran), f"timeout of {policy.timeout:g} s"
        total = self.total_end
        if total is not None and total < self.hard:
            self.hard, self.hard_limit = max(now, total), f"total_timeout of {policy.total_timeout:g} s"
        self.deadline, self.limit = self.hard, self.hard_limit
        if policy.soft_timeout is not None and now + policy.soft_timeout - self.ran < self.hard:
            self.deadline, self.limit = now + max(0.0, policy.soft_timeout - self.ran), f"soft_timeout of {policy.soft_timeout:g} s"

    @property
    def total_end(self) -> float | None:
        """When its `total_timeout` is over; None = it has none."""
        total = self.claim.policy.total_timeout
        return None if total is None else self.since + total - (self.claim.claimed - self.claim.created) / 1000

    def wait(self, now: float) -> None:
        """Its code waits for steps: running time stands still, the total does not."""
        self.waits = now
        self.ran += now - self._counts_from
        self.deadline = self.hard = self.total_end
        if self.deadline is not None:
            self.limit = self.hard_limit = f"total_timeout of {self.claim.policy.total_timeout:g} s"

    def go_on(self, now: float) -> None:
        """Its code goes on."""
        self.waited, self.waits = self.has_waited(now), 0.0
        if self.stop is None:
            self._limit(now)

    def has_waited(self, now: float) -> float:
        """Seconds that its code has waited for steps in this attempt."""
        return self.waited + (max(0.0, now - self.waits) if self.waits else 0.0)

    def begin_anew(self, group: str) -> None:
        """It is to run again, with whom it shares `group` alone: as if it had not begun."""
        flow = self.claim.flow
        if self.asking is not None:
            # What it has asked for is in its journal by now.
            flow, self.asking = replace(flow or Flow(), journal=True), None
        self.claim, self.group = replace(self.claim, suspect=group, flow=flow), group
        self.started = self.deadline = self.hard = None
        self.ran = self.waits = self.waited = 0.0
        self.waits_since = time.monotonic()
        self.batch = self.batch_size = 0

    def request_stop(self, reason: StopReason, now: float, grace: float) -> None:
        """It is asked to stop; see `stopping` for what follows."""
        self.stop, self.stop_at, self.interrupted = reason, now, False
        self.exception_at, self.kill_at = steps(reason, now, grace, self.hard)

    def has_run(self, begun: float | None, seconds: float | None) -> None:
        """Its code was entered at `begun`, and has run for so many seconds (None, None = it was not). Once it is settled that is final."""
        if begun is not None and seconds is not None and not self.settled:
            self.wait_s += max(0.0, begun - self.waits_since)
            self.run_s = (self.run_s or 0.0) + seconds

    def has_stopped(self, by: StoppedBy, now: float) -> None:
        """Note how it was stopped, and how long that took, unless it had not begun."""
        if self.started is not None:
            self.stopped_by, self.stop_s = by, now - self.stop_at

    def settle(self) -> bool:
        """Its outcome is known. False: another one was known before, which counts."""
        first, self.settled = not self.settled, True
        return first
