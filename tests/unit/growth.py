"""How the time of a call grows with what it is given, in CPU time of its thread.

What else runs on the machine is not counted, but disturbs: it takes the caches, and the clock of the core. So what looks too long is
measured again, and the least of all rounds counts: what truly takes that long does so in every round.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

#: Seconds for each byte or character. What takes less is not quadratic at the sizes that are tried: that would take many times as much.
_PLAINLY_LINEAR = 50e-9
#: The most by which the time may grow when four times as much is given. Linear is 4, quadratic 16.
MOST = 8.0
#: How often a time is measured until it is believed that it is too long.
ROUNDS = 12


def growth(work: Callable[[T], object], make: Callable[[int], T], n: int) -> float:
    """By what the CPU time of `work(make(n))` grows when four times as much is made; 0 = it takes next to none.

    Args:
        work: what is measured, on this thread.
        make: what it is given, of about so many bytes or characters; it is made outside of the measurement.
        n: large enough that the part that would be quadratic is most of the work.
    """
    large = make(4 * n)
    longest = seconds(work, large)
    if longest < _PLAINLY_LINEAR * 4 * n:
        return 0.0
    small = make(n)
    shortest = seconds(work, small)
    for _ in range(ROUNDS - 1):
        shortest = min(shortest, seconds(work, small))
        if longest <= MOST * shortest:
            break
        longest = min(longest, seconds(work, large))
    return longest / max(shortest, 1e-9)


def seconds(work: Callable[[T], object], given: T) -> float:
    """Of CPU that `work(given)` takes on this thread."""
    with no_collection():
        began = time.thread_time()
        work(given)
        return time.thread_time() - began


@contextmanager
def no_collection() -> Iterator[None]:
    """A collection of garbage looks at all that the tests hold, and may come at any allocation: none comes here."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
