"""How the time of a call grows with what it is given. CPU time of this process: what else the machine does is not counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds for each byte or character. What takes less is not quadratic at the sizes that are tried: that would take many times as much.
_PLAINLY_LINEAR = 50e-9
#: The most by which the time may grow when four times as much is given. Linear is 4, quadratic 16.
MOST = 8.0


def growth(work: Callable[[T], object], make: Callable[[int], T], n: int) -> float:
    """By what the CPU time of `work(make(n))` grows when four times as much is made; 0 = it takes next to none.

    Args:
        work: what is measured.
        make: what it is given, of about so many bytes or characters; it is made outside of the measurement.
        n: large enough that the part that would be quadratic is most of the work.
    """
    large = make(4 * n)
    longest = _cpu(work, large, 1)
    if longest < _PLAINLY_LINEAR * 4 * n:
        return 0.0
    small = make(n)
    shortest = _cpu(work, small, 2)
    if longest > MOST * shortest:  # or something disturbed it
        longest, shortest = _cpu(work, large, 3), _cpu(work, small, 5)
    return longest / max(shortest, 1e-9)


def _cpu(work: Callable[[T], object], given: T, repetitions: int) -> float:
    """Seconds, the least of so many repetitions: whatever disturbs makes it more."""
    least = float("inf")
    for _ in range(repetitions):
        began = time.process_time()
        work(given)
        least = min(least, time.process_time() - began)
    return least
