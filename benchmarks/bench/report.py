"""The tables: what the design asks for and whether it is reached, and all figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from bench.figures import Figure
from bench.targets import TARGETS

Rows = list[tuple[str, ...]]
FIGURES = ("row", "what", "Longrun", "peer", "peer's value", "ratio (range)", "floor")
SUMMARY = ("row", "what the design asks for", "floor", "aim", "measured (range)", "")


def table(figures: Sequence[Figure]) -> Rows:
    """The figures as rows of text under `FIGURES`."""
    return [
        (
            figure.row,
            figure.what + (f" [{figure.unit}]" if figure.unit else "") + ("" if figure.better == "higher" else ", lower is better"),
            _shown(figure.longrun),
            figure.peer,
            _line(figure.missing) or _shown(figure.other),
            _shown(figure.ratios, "x"),
            _floor(figure),
        )
        for figure in figures
    ]


def summary(figures: Sequence[Figure], failures: Mapping[str, str]) -> Rows:
    """One row for each demand of the design under `SUMMARY`, also for those that were not measured."""
    measured = {figure.target: figure for figure in figures if figure.target}
    rows = []
    for key, target in TARGETS.items():
        suffix = "x" if target.on == "ratio" else ""
        figure = measured.get(key)
        if figure is not None and figure.value is not None:
            values = figure.ratios if target.on == "ratio" else figure.longrun
            shown, verdict = _shown(values, suffix), figure.verdict
        else:
            shown, verdict = "-", "FAILED, see below" if target.row in failures else "not measured"
            if figure is not None and figure.missing:
                verdict = f"not measured: {_line(figure.missing)}"
        rows.append((target.row, target.what, f"{target.floor:g}{suffix}", f"{target.aim:g}{suffix}", shown, verdict))
    return rows


def as_text(head: tuple[str, ...], rows: Rows) -> str:
    """A table for the terminal."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows))


def as_markdown(head: tuple[str, ...], rows: Rows) -> str:
    """A table in Markdown."""
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def notes(figures: Sequence[Figure]) -> list[str]:
    """The notes of the figures, each once."""
    seen = dict.fromkeys((figure.row, figure.note) for figure in figures if figure.note)
    return [f"{row}: {note}" for row, note in seen]


def _shown(values: Sequence[float], suffix: str = "") -> str:
    if not values:
        return "-"
    middle = f"{_number(median(values))}{suffix}"
    return middle if len(values) == 1 else f"{middle} ({_number(min(values))}-{_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _floor(figure: Figure) -> str:
    if figure.demand is None:
        return "-"
    unit = "x" if figure.demand.on == "ratio" else f" {figure.unit}"
    return f"{figure.demand.floor:g}{unit}: {figure.verdict}"


def _line(text: str) -> str:
    """The beginning of a text, on one line."""
    return " ".join(text.split())[:160]
