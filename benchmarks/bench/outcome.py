"""All that a run found, and where it is written."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.curves import Curve
from bench.environments import HERE, program
from bench.errors import CheckError
from bench.figures import Figure
from bench.machine import lines
from bench.plan import QUICK, Plan, say
from bench.report import FIGURES, SUMMARY, as_markdown, as_text, notes, summary, table


@dataclass(slots=True)
class Outcome:
    """Figures and curves in the order of the rows; why rows failed, and what each took in seconds, by their names."""

    plan: Plan
    machine: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """For the terminal."""
        return "\n".join(
            [
                *lines(self.machine),
                as_text(FIGURES, table(self.figures)),
                *notes(self.figures),
                as_text(SUMMARY, summary(self.figures, self.failures)),
                *(f"{name} FAILED: {why}" for name, why in self.failures.items()),
            ]
        )

    def write(self) -> None:
        """Write results.json, plots/ and RESULTS.md beside `run.py`."""
        raw = {
            "machine": self.machine,
            "plan": asdict(self.plan),
            "figures": [figure.to_json() for figure in self.figures],
            "curves": [curve.to_json() for curve in self.curves],
            "failures": self.failures,
            "seconds": self.seconds,
        }
        (HERE / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
        trouble = _plot()
        (HERE / "RESULTS.md").write_text("\n\n".join(self._parts(trouble)) + "\n")

    def _parts(self, trouble: str) -> list[str]:
        quick = ["**A quick run: to see that everything runs, not to quote.**"] if self.plan == QUICK else []
        failed = [f"- **{name} failed**: {' '.join(why.split())}" for name, why in self.failures.items()]
        plots = [f"![{curve.title}](plots/{curve.name}.svg)" for curve in self.curves] if not trouble else [f"No plots: {trouble}"]
        return [
            "# Results\n\nWritten by `make bench`; what the rows mean is in README.md, the raw numbers are in results.json. "
            "Median (range) of the rounds.",
            *quick,
            "\n".join(f"- {line}" for line in lines(self.machine)),
            "## What the design asks for",
            as_markdown(SUMMARY, summary(self.figures, self.failures)),
            *(["\n".join(failed)] if failed else []),
            "## All figures",
            as_markdown(FIGURES, table(self.figures)),
            "\n".join(f"- {note}" for note in notes(self.figures)),
            *(["## Curves", *plots] if self.curves else []),
        ]


def _plot() -> str:
    """Draw the curves; why that did not work, or nothing."""
    try:
        command = [program("plots", "python"), str(HERE / "plot.py"), str(HERE / "results.json"), str(HERE / "plots")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        reason = " ".join(done.stderr.split())[-300:] if done.returncode else ""
    except (CheckError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason:
        say(f"  plots FAILED: {reason}")
    return reason
