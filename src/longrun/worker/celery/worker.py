"""Starts a Celery worker with our pool."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from celery.apps import worker as celery_worker
from celery.exceptions import SecurityWarning

from longrun.queues.celery.app import build_app
from longrun.worker.celery.pool import ServeLanes
from longrun.worker.plan import WorkerPlan


def run_celery_worker(plan: WorkerPlan, store_url: str) -> int:
    """Run until asked to stop (SIGTERM or SIGINT: warm; again: at once). Returns the exit status. `store_url` carries the tickets too."""
    settings = plan.settings
    # Celery warns root of pickle; this worker accepts JSON alone, and in a container root is common.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    # What Celery says in its signal handlers would go to the descriptor itself, and wait there for whoever reads it.
    celery_worker.safe_say = _say
    app = build_app(store_url, settings.prefix, [(spec.queue, spec.name) for spec in plan.specs])
    app.conf.longrun_plan = plan
    app.conf.worker_send_task_events = settings.events
    app.steps["consumer"].add(ServeLanes)
    app.set_default()
    worker: Any = app.Worker(
        hostname=plan.name,
        pool_cls="longrun.worker.celery.pool:TicketPool",
        # Credit is counted by lanes; this number only has to be large enough not to get in the way.
        concurrency=1024,
        loglevel=settings.log_level.upper() if settings.log_level == "debug" else "WARNING",
        without_gossip=True,
        without_mingle=True,
        task_events=settings.events,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _say(text: str, *_: Any) -> None:
    sys.stderr.write(f"{text}\n")
