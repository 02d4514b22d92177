"""What a worker holds at this moment: plain data, without I/O and without a clock. Nobody is notified when it changes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from longrun.worker.dispatch.lane import Lane
from longrun.worker.run import Run
from longrun.worker.supervise.seat import Group, Seat

#: Runs a coroutine beside everything else.
Spawn = Callable[[Coroutine[Any, Any, None]], Any]
#: To be called with a seat that has more or less room than before: jobs that wait may be sent.
Recount = Callable[[Seat], None]


@dataclass(slots=True)
class Tables:
    """Written by the engine's thread only, but for `closing`."""

    groups: list[Group] = field(default_factory=list)  #: models that share runners
    lanes: dict[str, Lane] = field(default_factory=dict)  #: by name
    runs: dict[str, Run] = field(default_factory=dict)  #: by job id, from the claim until the store has the outcome or refuses it
    closing: bool = False  #: the worker takes no more work

    @property
    def seats(self) -> list[Seat]:
        """Of all groups."""
        return [seat for group in self.groups for seat in group.seats]

    @property
    def busy(self) -> bool:
        """Whether there are runs that are not parked."""
        return len(self.runs) > sum(len(seat.leaving) + sum(map(len, seat.parked.values())) for seat in self.seats)

    def lane_of(self, run: Run) -> Lane:
        """Where it waits or has waited."""
        return self.lanes[run.lane]

    def lanes_of(self, seat: Seat) -> list[Lane]:
        """Whose jobs are sent there."""
        return [self.lanes[name] for name in seat.group.lanes]

    def seat_of(self, run: Run) -> Seat | None:
        """The seat of the runner that it was sent to."""
        return next((seat for seat in self.lane_of(run).seats if seat.find(run.id, run.fence) is run), None)

    def mates(self, seat: Seat, run: Run) -> list[Run]:
        """The others of its batch in a runner."""
        return [other for other in seat.aboard[run.lane].values() if other is not run and run.batch and other.batch == run.batch]

    def remove_waiting(self, run: Run) -> None:
        """A run that waited in its lane does not wait any longer."""
        lane = self.lane_of(run)
        (lane.apart if run in lane.apart else lane.pending).remove(run)
        lane.held -= 1

    def remove(self, run: Run) -> None:
        """The outcome of a run is stored or given up. A later claim of the same job stays."""
        if self.runs.get(run.id) is run:
            del self.runs[run.id]
