"""In which order the code gets the outcomes of its steps: that in which they ended. A replay keeps to it."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from longrun.models.steps.awaits import Step


class Order:
    """Outcomes that the code has not got yet.

    Args:
        ends: keys in the order in which they ended before this attempt began.
    """

    def __init__(self, ends: Sequence[str]) -> None:
        self._ends = ends
        self._places = {key: number for number, key in enumerate(ends)}
        self._next = 0  # the first that the code has neither got nor given up
        self._behind: set[str] = set()
        self._ready: list[tuple[int, int, Step]] = []
        self._came = 0

    @property
    def repeats(self) -> bool:
        """Whether something that ended before has not come to the code again."""
        return self._next < len(self._ends)

    def __bool__(self) -> bool:
        """Whether there is something for the code."""
        return bool(self._ready)

    def add(self, step: Step) -> None:
        """Its outcome has come."""
        self._came += 1
        heappush(self._ready, (self._places.get(step.key, len(self._ends)), self._came, step))

    def take(self, *, sure: bool) -> Step | None:
        """The next for the code. Not `sure`: what may still come before it is not known, so only what is its turn in any case."""
        while self._ready and (sure or self._ready[0][0] <= self._next):
            step = heappop(self._ready)[2]
            if step.state == "ended":
                return step
        return None

    def passed(self, key: str) -> None:
        """The code has got it, or does not wait for it any more."""
        self._behind.add(key)
        while self.repeats and self._ends[self._next] in self._behind:
            self._next += 1
