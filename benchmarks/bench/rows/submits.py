"""Accepted submits a second by one API process. No worker runs."""

from __future__ import annotations

from bench.dialects import ACCEPTED
from bench.errors import CheckError
from bench.figures import Figure
from bench.plan import Plan, alternate
from bench.stage import Stage

WHAT = "accepted HTTP submits per API process"


def measure(plan: Plan) -> list[Figure]:
    """Longrun against the hand-written service, and against FastAPI that answers with a constant."""

    def longrun() -> float:
        with Stage() as stage:
            return _flood(stage, plan, "longrun", stage.longrun_api(stage.valkey()))

    def handwritten() -> float:
        with Stage() as stage:
            return _flood(stage, plan, "handwritten", stage.handwritten_api(stage.valkey()))

    def ceiling() -> float:
        with Stage() as stage:
            return _flood(stage, plan, "ceiling", stage.ceiling())

    values = alternate(plan.rounds, {"Longrun": longrun, "hand-written": handwritten, "constant answer": ceiling})
    return [
        Figure(
            row="submits",
            what=WHAT,
            unit="1/s",
            peer="FastAPI + Celery delay()",
            longrun=values["Longrun"],
            other=values["hand-written"],
            target="submits",
            note="Equal durability: both in a Valkey that syncs its append-only file every second.",
        ),
        Figure(
            row="submits",
            what=WHAT,
            unit="1/s",
            peer="FastAPI, constant answer",
            longrun=values["Longrun"],
            other=values["constant answer"],
            target="submits ceiling",
            note="Not equal work: the peer reads and validates the same body and stores nothing. It is the most that FastAPI can do.",
        ),
    ]


def _flood(stage: Stage, plan: Plan, service: str, port: int) -> float:
    result = stage.client("flood", service, port, clients=plan.clients, warm_up=plan.warm_up, seconds=plan.window)
    refused = {status: count for status, count in result["statuses"].items() if int(status) not in ACCEPTED}
    if refused:
        raise CheckError(f"submits to {service} were refused (status: how often): {refused}")
    return float(result["rate"])
