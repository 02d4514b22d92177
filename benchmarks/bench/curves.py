"""A measured curve: several series over one axis."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Curve:
    """What is plotted.

    Args:
        name: of the file, `plots/<name>.svg`.
        title: above the plot.
        x, y: names of the axes, with units.
        series: points by the name of their line; a line that is called `ideal` is drawn thin.
        log: axes that are logarithmic, such as `xy`; an x of 0 then stands at the left edge.
    """

    name: str
    title: str
    x: str
    y: str
    series: dict[str, list[tuple[float, float]]]
    log: str = ""

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)
