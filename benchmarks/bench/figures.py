"""A measured figure, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal


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
        floor: what the design asks for at least; None where it asks for nothing.
        floor_on: whether the floor is about the ratio Longrun / peer or about Longrun's own value.
        note: equal work? equal durability?
    """

    row: str
    what: str
    unit: str
    peer: str
    longrun: list[float]
    other: list[float]
    better: Literal["higher", "lower"] = "higher"
    floor: float | None = None
    floor_on: Literal["ratio", "longrun"] = "ratio"
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Longrun / peer, round by round."""
        return [ours / theirs for ours, theirs in zip(self.longrun, self.other, strict=True)] if self.other else []

    @property
    def reached(self) -> bool | None:
        """Whether the floor is reached; None without one."""
        if self.floor is None:
            return None
        value = median(self.ratios if self.floor_on == "ratio" else self.longrun)
        return value >= self.floor if self.better == "higher" else value <= self.floor

    def to_json(self) -> dict[str, Any]:
        """Everything, with the ratios."""
        return asdict(self) | {"ratios": self.ratios, "reached": self.reached}


COLUMNS = ("row", "what", "Longrun", "peer", "peer's value", "ratio (range)", "floor")


def table(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """The figures as rows of text under `COLUMNS`."""
    return [
        (
            figure.row,
            f"{figure.what} [{figure.unit}]" + ("" if figure.better == "higher" else ", lower is better"),
            _shown(figure.longrun),
            figure.peer,
            _shown(figure.other),
            _shown(figure.ratios, "x"),
            _floor(figure),
        )
        for figure in figures
    ]


def as_text(rows: Sequence[tuple[str, ...]]) -> str:
    """A table for the terminal."""
    widths = [max(len(row[i]) for row in (COLUMNS, *rows)) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (COLUMNS, *rows))


def as_markdown(rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (COLUMNS, ("---",) * len(COLUMNS), *rows))


def _shown(values: Sequence[float], suffix: str = "") -> str:
    if not values:
        return "-"
    middle = f"{_number(median(values))}{suffix}"
    return middle if len(values) == 1 else f"{middle} ({_number(min(values))}-{_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _floor(figure: Figure) -> str:
    if figure.floor is None:
        return "-"
    unit = "x" if figure.floor_on == "ratio" else f" {figure.unit}"
    return f"{figure.floor:g}{unit} {'reached' if figure.reached else 'MISSED'}"
