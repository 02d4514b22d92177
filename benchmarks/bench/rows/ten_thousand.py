"""Many no-op jobs, submitted over HTTP by concurrent clients and each followed to its end, through the whole service."""

from __future__ import annotations

import psutil

from bench.children import Child
from bench.errors import CheckError
from bench.figures import Figure
from bench.plan import Plan, alternate
from bench.stage import Stage

WARM_UP = 20  # jobs
PEER = "FastAPI + Celery (prefork)"
NOTE = "Longrun: `longrun serve`, followed by `Prefer: wait`. Hand-written: followed by status requests every 10 ms. Equal durability."


def measure(plan: Plan) -> list[Figure]:
    """Submits a second while the workers work, and jobs a second from the first submit to the last known end."""
    submits: dict[str, list[float]] = {"Longrun": [], PEER: []}

    def longrun() -> float:
        with Stage() as stage:
            port, serve = stage.longrun_serve()
            stage.client("latency", "longrun", port, warm_up=0, count=WARM_UP)
            before = processes(serve)
            result = _checked(plan, stage.client("to_the_end", "longrun", port, clients=plan.clients, count=plan.jobs_to_the_end))
            if (after := processes(serve)) != before:
                raise CheckError(f"processes of `longrun serve` were replaced: {before} before, {after} after")
        submits["Longrun"].append(result["submit_rate"])
        return result["job_rate"]

    def handwritten() -> float:
        with Stage() as stage:
            url = stage.valkey()
            stage.handwritten_worker(url, "prefork")
            port = stage.handwritten_api(url)
            stage.client("latency", "handwritten", port, warm_up=0, count=WARM_UP)
            result = _checked(plan, stage.client("to_the_end", "handwritten", port, clients=plan.clients, count=plan.jobs_to_the_end))
        submits[PEER].append(result["submit_rate"])
        return result["job_rate"]

    jobs = alternate(plan.rounds_to_the_end, {"Longrun": longrun, PEER: handwritten})
    count = f"{plan.jobs_to_the_end:,} jobs by {plan.clients} clients"
    return [
        Figure("10k", f"{count}: submits, workers running", "1/s", PEER, submits["Longrun"], submits[PEER], note=NOTE),
        Figure("10k", f"{count}: jobs, first submit to last end", "1/s", PEER, jobs["Longrun"], jobs[PEER], note=NOTE),
    ]


def processes(serve: Child) -> list[tuple[int, str]]:
    """Pid and program of every process under `longrun serve`."""
    return sorted((process.pid, _program(process)) for process in serve.offspring())


def _program(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:4])
    except psutil.NoSuchProcess:
        return "(ended)"


def _checked(plan: Plan, result: dict[str, float]) -> dict[str, float]:
    for name in ("distinct_ids", "succeeded", "first_attempts"):
        if result[name] != plan.jobs_to_the_end:
            raise CheckError(f"{name.replace('_', ' ')}: {result[name]} of {plan.jobs_to_the_end} jobs")
    return result
