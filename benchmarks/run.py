"""Measure Longrun beside its peers: `python benchmarks/run.py [--quick] [--only NAME] [--write]`. See README.md here."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.errors import CheckError
from bench.figures import Figure, as_markdown, as_text, table
from bench.machine import describe, lines
from bench.plan import QUICK, Plan, say
from bench.rows import ROWS

HERE = Path(__file__).resolve().parent


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for. 0 when everything that ran did its work, whatever the figures say."""
    options = _parse(arguments)
    # SystemExit runs every clean-up, so that a stopped benchmark leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = QUICK if options.quick else Plan()
    if options.rounds:
        plan = replace(plan, rounds=options.rounds, rounds_to_the_end=options.rounds)
    machine = describe()
    say("\n".join(lines(machine)))
    figures: list[Figure] = []
    failures: dict[str, str] = {}
    for name in options.only or ROWS:
        say(name)
        try:
            figures += ROWS[name](plan)
        except CheckError as error:
            failures[name] = str(error)
            say(f"  FAILED: {error}")
    print("\n".join(lines(machine)))
    print(as_text(table(figures)))
    print(*_notes(figures), sep="\n")
    for name, why in failures.items():
        print(f"{name} FAILED: {why}")
    if options.write:
        _write(plan, machine, figures, failures)
    return 1 if failures else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: to see that all runs, not to quote")
    parser.add_argument("--only", action="append", choices=list(ROWS), help="only this row (may be given again)")
    parser.add_argument("--rounds", type=int, help="rounds instead of the plan's")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md and results.json beside this file")
    return parser.parse_args(arguments)


def _notes(figures: Sequence[Figure]) -> list[str]:
    seen = dict.fromkeys((figure.row, figure.note) for figure in figures)
    return [f"{row}: {note}" for row, note in seen]


def _write(plan: Plan, machine: dict[str, Any], figures: Sequence[Figure], failures: dict[str, str]) -> None:
    raw = {"machine": machine, "plan": asdict(plan), "figures": [figure.to_json() for figure in figures], "failures": failures}
    (HERE / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    parts = [
        "# Results\n\nWritten by `python benchmarks/run.py --write`; what the rows mean is in README.md. Median (range) of the rounds.",
        "\n".join(f"- {line}" for line in lines(machine)),
        as_markdown(table(figures)),
        "\n".join(f"- {note}" for note in _notes(figures)),
        *(f"**{name} failed**: {why}" for name, why in failures.items()),
    ]
    (HERE / "RESULTS.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
