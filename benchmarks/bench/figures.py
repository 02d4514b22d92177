"""A measured figure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from bench.targets import TARGETS, Target


@dataclass(frozen=True, slots=True)
class Figure:
    """Longrun beside a peer, measured in the same run.

    Args:
        row: name of the benchmark.
        what: what was measured.
        unit: of the values.
        peer: what Longrun is compared with.
        longrun: Longrun's value in each round.
        other: the peer's value in each round; empty without a peer.
        better: whether higher or lower values are better.
        target: what the design asks for, by its key in `TARGETS`; empty where it asks for nothing.
        missing: why there is no value of the peer.
        note: equal work? equal durability?
    """

    row: str
    what: str
    unit: str
    peer: str
    longrun: list[float]
    other: list[float]
    better: Literal["higher", "lower"] = "higher"
    target: str = ""
    missing: str = ""
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Longrun / peer, round by round."""
        return [ours / theirs for ours, theirs in zip(self.longrun, self.other, strict=True)] if self.other else []

    @property
    def demand(self) -> Target | None:
        """What the design asks for."""
        return TARGETS[self.target] if self.target else None

    @property
    def value(self) -> float | None:
        """What the demand is about: the median of the ratios or of Longrun's values; None without a demand or without values."""
        values = self.ratios if self.demand is not None and self.demand.on == "ratio" else self.longrun
        return median(values) if self.demand is not None and values else None

    @property
    def verdict(self) -> str:
        """How it stands to the demand; empty without one."""
        if self.demand is None:
            return ""
        return "not measured" if self.value is None else self.demand.verdict(self.value)

    def to_json(self) -> dict[str, Any]:
        """Everything, with the ratios."""
        return asdict(self) | {"ratios": self.ratios, "verdict": self.verdict}
