"""When a batch goes, and what goes in it: pure decisions. Why they are so is in docs/decisions/0020-dynamic-batching.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from longrun.worker.run import Run

#: One batch may be taken ahead of a busy runner only when batches are shorter than this, so that a job never waits long behind another.
AHEAD_BELOW_S = 0.25
#: How much running time of short jobs is sent ahead to a runner, and how many of them at most.
AHEAD_S = 0.05
#: A job that has run for so long was none of the short ones: what was sent ahead of its end goes back. Longer than a busy machine's hiccup.
LONG_S = 0.3
AHEAD_MOST = 512
#: The next batch is sent to a busy runner when this part of its batch's expected time is over, less a few milliseconds for the way: early
#: enough that the runner does not idle, late enough that most of what comes meanwhile is in it.
_SEND_AT, _WAY_MS = 0.75, 3.0


def wait_before_batch(waiting: int, max_size: int, waited_ms: float, max_wait_ms: float, gap_ms: float | None) -> float:
    """Milliseconds an idle runner still waits for more items; 0 = go now.

    Args:
        waiting: items that could go.
        max_size: size of a full batch.
        waited_ms: how long the first of them has waited here.
        max_wait_ms: the author's limit of that.
        gap_ms: mean time between arrivals of late; None = not known.
    """
    left = max_wait_ms - waited_ms
    if waiting >= max_size or left <= 0:
        return 0.0
    if gap_ms is not None and gap_ms > left:
        return 0.0  # less than one more arrival is expected in that time
    return left


def wait_behind_batch(waiting: int, max_size: int, ran_ms: float, expected_ms: float | None) -> float:
    """Milliseconds until the next batch is sent to a runner that is busy with one; 0 = go now. Until then it gathers what comes.

    Args:
        waiting: items that could go.
        max_size: size of a full batch; it has nothing to gather.
        ran_ms: how long the runner's batch has run.
        expected_ms: how long it is expected to take; None = not known.
    """
    if waiting >= max_size or expected_ms is None:
        return 0.0
    return max(0.0, expected_ms * _SEND_AT - _WAY_MS - ran_ms)


def queues_of(runs: Iterable[Run]) -> list[list[Run]]:
    """The runs that wait, by batch key: the most urgent first, then the oldest; and the keys by their first runs.

    So no key is passed over for long: while others have their turns its first run grows older than theirs.
    """
    by_key: dict[tuple[Any, ...], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (-run.claim.priority, run.since)):
        by_key.setdefault(run.key, []).append(run)
    return list(by_key.values())


def batch_key(fields: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """The values of these input fields, which all items of a batch must share; `data`: the job's input as JSON."""
    values = orjson.loads(data)
    return tuple(orjson.dumps(values.get(name), option=orjson.OPT_SORT_KEYS) for name in fields)


def jobs_ahead(mean_s: float | None) -> int:
    """How many jobs may wait inside a runner beside those that run, given the mean running time of late (None = not known)."""
    if mean_s is None or mean_s >= AHEAD_S:
        return 0
    return min(AHEAD_MOST, int(AHEAD_S / max(mean_s, 1e-6)))


class Pace:
    """How long batches take lately, by size: sizes up to twice each other count as one."""

    def __init__(self) -> None:
        self._times: dict[int, float] = {}

    def add(self, size: int, seconds: float) -> None:
        """A batch of `size` has taken so long."""
        known = self._times.get(size.bit_length())
        self._times[size.bit_length()] = seconds if known is None else known * 0.8 + seconds * 0.2

    def expect(self, size: int) -> float | None:
        """Seconds that a batch of `size` will take; None = none of that size, or smaller, has been seen."""
        return next((self._times[n] for n in range(size.bit_length(), 0, -1) if n in self._times), None)


class CautiousMean:
    """A mean that believes a long time at once and a short one slowly."""

    def __init__(self) -> None:
        self.value: float | None = None

    def add(self, sample: float) -> None:
        """Take a sample into account."""
        self.value = sample if self.value is None else max(sample, self.value * 0.9 + sample * 0.1)
