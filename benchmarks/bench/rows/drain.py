"""No-op jobs a second by one worker that finds its queue full. Worker start-up is not counted."""

from __future__ import annotations

from bench.figures import Figure
from bench.plan import Plan, alternate, say
from bench.rows import drain_celery, drain_longrun
from bench.stage import Pool

POOLS: tuple[Pool, ...] = ("solo", "threads", "prefork")


def measure(plan: Plan) -> list[Figure]:
    """One Longrun worker with one runner against the fastest pool of a stock Celery worker."""
    tried = {pool: drain_celery.rate(plan.celery_jobs, pool) for pool in POOLS}
    shown = ", ".join(f"{pool} {rate:.0f}/s" for pool, rate in tried.items())
    say(f"  pools of Celery: {shown}")
    best = max(tried, key=lambda pool: tried[pool])
    ours, theirs = "Longrun", f"stock Celery, {best} (its best pool)"
    values = alternate(
        plan.rounds,
        {ours: lambda: drain_longrun.rate(plan.longrun_jobs), theirs: lambda: drain_celery.rate(plan.celery_jobs, best)},
    )
    return [
        Figure(
            row="drain",
            what="no-op jobs per worker",
            unit="1/s",
            peer=theirs,
            longrun=values[ours],
            other=values[theirs],
            target="drain",
            note=f"Results stored, equal durability. {plan.longrun_jobs:,} jobs for Longrun, {plan.celery_jobs:,} for Celery: windows of "
            f"similar length. Celery's pools when tried first: {shown}.",
        )
    ]
