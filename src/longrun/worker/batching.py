"""When an idle runner's batch goes, and what goes in it: pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

#: One batch may be taken ahead of a busy runner only when batches are shorter than this, so that a job never waits long behind another.
AHEAD_BELOW_S = 0.25
#: How much running time of short jobs is sent ahead to a runner, and how many of them at most.
AHEAD_S = 0.05
#: A job that has run for so long was none of the short ones: what was sent ahead of its end goes back. Longer than a busy machine's hiccup.
LONG_S = 0.3
AHEAD_MOST = 512


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


def batch_key(fields: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """Values that all items of a batch must share.

    Args:
        fields: names of input fields.
        data: the job's input as JSON.
    """
    if not fields:
        return ()
    values = orjson.loads(data)
    return tuple(orjson.dumps(values.get(name), option=orjson.OPT_SORT_KEYS) for name in fields)


def jobs_ahead(mean_s: float | None) -> int:
    """How many jobs may wait inside a runner beside those that run, given the mean running time of late (None = not known)."""
    if mean_s is None or mean_s >= AHEAD_S:
        return 0
    return min(AHEAD_MOST, int(AHEAD_S / max(mean_s, 1e-6)))


class Cautious:
    """A mean that believes a long time at once and a short one slowly."""

    def __init__(self) -> None:
        self.value: float | None = None

    def add(self, sample: float) -> None:
        """Take a sample into account."""
        self.value = sample if self.value is None else max(sample, self.value * 0.9 + sample * 0.1)
