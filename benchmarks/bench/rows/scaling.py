"""Curves: throughput by worker processes, and latency by load."""

from __future__ import annotations

import json
from statistics import median
from typing import Any

from bench.curves import Curve
from bench.figures import Figure
from bench.machine import cores
from bench.plan import Plan, say
from bench.rows import drain_longrun
from bench.rows.latency import percentile
from bench.stage import Stage

CONNECTIONS = 256
WARM_UP = 20  # jobs: the first ones wait for the worker to be up
NOTE = (
    "Drain: as in the row `drain`, with as many worker processes, of one runner each. Latency: `longrun serve`, one submit with "
    "`Prefer: wait` for each job, sent when it is due whatever became of those before; the share is of what 64 connections reach that "
    "each wait for their answers."
)


def measure(plan: Plan) -> list[Figure | Curve]:
    """Both curves, with the ends of each as figures."""
    rates = {width: _drain(plan, width) for width in plan.widths}
    one = median(rates[1])
    figures = [
        Figure("scaling", f"no-op jobs, {width} workers on {cores()} cores", "1/s", "1 worker", rates[width], rates[1], note=NOTE)
        for width in plan.widths[1:]
    ]
    p50, p99, capacity = _latencies(plan)
    figures += [
        Figure("scaling", f"p99 at {share:.0f} % of {capacity:.0f} jobs/s", "ms", "-", [value], [], "lower", note=NOTE)
        for share, value in p99
    ]
    points = [(float(width), median(found)) for width, found in rates.items()]
    ideal = [(float(width), one * width) for width in plan.widths]
    return [
        *figures,
        Curve("workers", f"No-op jobs on {cores()} cores", "worker processes", "jobs a second", {"Longrun": points, "ideal": ideal}),
        Curve("load", "Submit to result, by load", f"share of {capacity:.0f} jobs/s, percent", "ms", {"p50": p50, "p99": p99}, "y"),
    ]


def _drain(plan: Plan, width: int) -> list[float]:
    found = [drain_longrun.rate(plan.longrun_jobs, width) for _ in range(plan.rounds_to_the_end)]
    say(f"  {width} workers: {median(found):.4g}/s")
    return found


def _latencies(plan: Plan) -> tuple[list[tuple[float, float]], list[tuple[float, float]], float]:
    p50, p99 = [], []
    with Stage() as stage:
        port, _ = stage.longrun_serve()
        stage.client("latency", "longrun", port, warm_up=0, count=WARM_UP)
        capacity = _ask(port, 0, plan.load_window, plan.clients)["rate"]
        say(f"  capacity: {capacity:.4g}/s")
        for share in plan.loads:
            took = [1000 * each for each in _ask(port, capacity * share / 100, plan.load_window, CONNECTIONS)["took"]]
            p50.append((float(share), percentile(took, 50)))
            p99.append((float(share), percentile(took, 99)))
            say(f"  {share} %: p50 {p50[-1][1]:.3g} ms, p99 {p99[-1][1]:.3g} ms")
    return p50, p99, capacity


def _ask(port: int, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    spec = json.dumps({"port": port, "rate": rate, "seconds": seconds, "connections": connections})
    found: dict[str, Any] = Stage.result("load", ["bench.open_loop", spec], {})
    return found
