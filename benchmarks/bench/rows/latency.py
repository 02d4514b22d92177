"""From submit to result on an idle system, over HTTP, one job at a time."""

from __future__ import annotations

from bench.figures import Figure
from bench.plan import Plan, say
from bench.stage import Stage

WARM_UP = 20  # jobs: the first ones wait for the worker to be up
NOTE = "Longrun: one submit with `Prefer: wait`. Hand-written: submit, then status requests every 10 ms, prefork pool. Equal durability."


def measure(plan: Plan) -> list[Figure]:
    """p50 and p99 in milliseconds."""
    longrun: list[list[float]] = []
    handwritten: list[list[float]] = []
    for number in range(plan.rounds):
        for side in (_longrun, _handwritten)[:: 1 if number % 2 == 0 else -1]:
            took = side(plan)
            (longrun if side is _longrun else handwritten).append(took)
            say(f"  round {number + 1}: {side.__name__[1:]} p50 {percentile(took, 50):.3g} ms, p99 {percentile(took, 99):.3g} ms")
    return [
        Figure(
            row="latency",
            what=f"submit to result, idle, p{share}",
            unit="ms",
            peer="FastAPI + Celery, polled every 10 ms",
            longrun=[percentile(took, share) for took in longrun],
            other=[percentile(took, share) for took in handwritten],
            better="lower",
            target=f"p{share}",
            note=NOTE,
        )
        for share in (50, 99)
    ]


def percentile(values: list[float], share: int) -> float:
    """The value that `share` percent of `values` do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]


def _longrun(plan: Plan) -> list[float]:
    with Stage() as stage:
        url = stage.valkey()
        stage.longrun_worker(url)
        return _ask(stage, plan, "longrun", stage.longrun_api(url))


def _handwritten(plan: Plan) -> list[float]:
    with Stage() as stage:
        url = stage.valkey()
        stage.handwritten_worker(url, "prefork")
        return _ask(stage, plan, "handwritten", stage.handwritten_api(url))


def _ask(stage: Stage, plan: Plan, service: str, port: int) -> list[float]:
    result = stage.client("latency", service, port, warm_up=WARM_UP, count=plan.latency_jobs)
    return [1000 * seconds for seconds in result["took"]]
