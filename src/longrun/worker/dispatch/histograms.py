"""Counts of batches by size and wait, as Prometheus wants them: cumulative histograms, since the worker has started."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

#: Upper limits of the buckets: items of a batch, and seconds from a job's claim to the start of its batch.
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
WAITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Histogram:
    """Counts samples up to each limit; the last bucket has no limit."""

    def __init__(self, limits: Sequence[float]) -> None:
        self._limits, self._counts, self._sum = limits, [0] * (len(limits) + 1), 0.0

    def add(self, sample: float) -> None:
        """Take a sample into account."""
        self._counts[bisect_left(self._limits, sample)] += 1
        self._sum += sample

    def snapshot(self) -> dict[str, Any]:
        """`{"buckets": [[limit, samples up to it], …], "sum", "count"}`."""
        total, buckets = 0, []
        for limit, count in zip(self._limits, self._counts, strict=False):
            total += count
            buckets.append([limit, total])
        return {"buckets": buckets, "sum": round(self._sum, 6), "count": total + self._counts[-1]}
