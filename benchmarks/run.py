"""Measure Longrun beside its peers: `python benchmarks/run.py [--quick] [--only NAME] [--write]`. See README.md here."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from bench.curves import Curve
from bench.environments import install
from bench.errors import CheckError
from bench.figures import Figure
from bench.machine import describe, lines
from bench.outcome import Outcome
from bench.plan import QUICK, Plan, say
from bench.rows import PEERS, ROWS


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for. 0 when everything that ran did its work, whatever the figures say."""
    options = _parse(arguments)
    # SystemExit runs every clean-up, so that a stopped benchmark leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = QUICK if options.quick else Plan()
    if options.rounds:
        plan = replace(plan, rounds=options.rounds, rounds_to_the_end=options.rounds, rounds_inference=options.rounds)
    names = options.only or list(ROWS)
    peers = list(dict.fromkeys(peer for name in names for peer in PEERS.get(name, ())))
    install([*peers, "plots"])
    outcome = Outcome(plan, describe(peers))
    say("\n".join(lines(outcome.machine)))
    for name in names:
        _run(name, plan, outcome)
    print(outcome.text())
    if options.write:
        outcome.write()
    return 1 if outcome.failures else 0


def _run(name: str, plan: Plan, outcome: Outcome) -> None:
    say(name)
    begun = time.monotonic()
    try:
        for found in ROWS[name](plan):
            if isinstance(found, Curve):
                outcome.curves.append(found)
            elif isinstance(found, Figure):
                outcome.figures.append(found)
    except CheckError as error:
        outcome.failures[name] = str(error)
        say(f"  FAILED: {error}")
    except Exception as error:  # a fault of the harness must not cost the other rows, which may have taken half an hour
        outcome.failures[name] = f"{type(error).__name__}: {error}"
        say(f"  FAILED: {outcome.failures[name]}")
    outcome.seconds[name] = round(time.monotonic() - begun, 1)
    say(f"  {name} took {outcome.seconds[name]:g} s")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: to see that all runs, not to quote")
    parser.add_argument("--only", action="append", choices=list(ROWS), help="only this row (may be given again)")
    parser.add_argument("--rounds", type=int, help="rounds instead of the plan's")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md, results.json and plots/ beside this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
