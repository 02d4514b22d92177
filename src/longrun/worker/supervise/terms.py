"""When a runner is replaced, and whether the next one may load beside it: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longrun.models import ModelSpec

#: The next runner is loaded beside the old one when this many times the memory of the old one is free.
_BESIDE = 1.5


@dataclass(frozen=True, slots=True)
class Terms:
    """What the models of a runner say about its replacement; where several share one, the strictest counts."""

    max_jobs: int | None = None  #: jobs after which it is replaced
    max_memory: int | None = None  #: bytes over which it is replaced
    load_timeout: float = 1800.0  #: seconds until all its models must be loaded
    gpus: int = 0  #: that it was given

    @classmethod
    def of(cls, specs: Sequence[ModelSpec]) -> Terms:
        """The terms of the models that share a runner."""
        return cls(
            min((spec.options.max_jobs_per_runner for spec in specs if spec.options.max_jobs_per_runner), default=None),
            min((spec.options.max_memory for spec in specs if spec.options.max_memory), default=None),
            max(spec.options.load_timeout for spec in specs),
            max(spec.options.gpus for spec in specs),
        )


def fits_beside(terms: Terms, device: str, held: int | None, available: int | None) -> bool:
    """Whether the next runner may load while the old one lives. What a GPU has left is not known here, so two never share one.

    `held`, `available`: bytes that the old runner holds, and that are free; None = not known.
    """
    if terms.gpus or device != "cpu" or held is None or available is None:
        return False
    return available >= _BESIDE * held


def over_memory(terms: Terms, held: int | None, at_start: int) -> bool:
    """Whether a runner holds more than it may. One whose models alone are over the limit would be replaced for ever: it is left alone."""
    return terms.max_memory is not None and held is not None and held > terms.max_memory >= at_start
