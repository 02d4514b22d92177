"""Memory of the processes that do nothing: what a service costs before the first model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.children import Child, until
from bench.figures import Figure
from bench.plan import Plan, say
from bench.stage import Stage

SETTLE = 2.0  # seconds after the first job
NOTE = (
    "After twenty jobs. PSS: memory that processes share counts by shares, so that the sum over processes is what the machine has less;"
    " where there is none (not Linux), RSS. Rows `depth` and `sse` have the memory of a queued job and of a reader."
)


@dataclass(frozen=True, slots=True)
class Size:
    """Megabytes."""

    rss: float
    pss: float


def measure(plan: Plan) -> list[Figure]:
    """API, worker, runner, server; each beside its counterpart of the hand-written service."""
    ours, theirs = _longrun(), _handwritten()
    figures = []
    for name, peer in (
        ("API process", "uvicorn, FastAPI + Celery"),
        ("worker", "celery, solo"),
        ("runner without a model", ""),
        ("Valkey", ""),
    ):
        mine, other = ours[name], theirs.get(name)
        say(f"  {name}: {mine}; {other}")
        for unit in ("rss", "pss"):
            value, beside = getattr(mine, unit), [getattr(other, unit)] if other else []
            figures.append(Figure("memory", f"{name}, {unit.upper()}", "MB", peer or "-", [value], beside, "lower", note=NOTE))
    return figures


def _longrun() -> dict[str, Size]:
    with Stage() as stage:
        url = stage.valkey()
        empty = _size(stage.valkey_pid)
        port, api = stage.longrun_api_process(url)
        worker = stage.longrun_worker(url)
        stage.client("latency", "longrun", port, warm_up=0, count=20)
        time.sleep(SETTLE)
        below = [_size(process.pid) for process in _pythons(worker)]
        runner = max(below, key=lambda size: size.rss)
        return {"API process": _size(api.pid), "worker": _size(worker.pid), "runner without a model": runner, "Valkey": empty}


def _handwritten() -> dict[str, Size]:
    with Stage() as stage:
        url = stage.valkey()
        port = stage.handwritten_api(url)
        api = stage.started[-1]
        worker = stage.handwritten_worker(url, "solo")
        stage.client("latency", "handwritten", port, warm_up=0, count=20)
        time.sleep(SETTLE)
        return {"API process": _size(api.pid), "worker": _size(worker.pid)}


def _pythons(worker: Child) -> list[psutil.Process]:
    until(lambda: bool(worker.offspring()), worker, timeout=20)
    return worker.offspring()


def _size(pid: int) -> Size:
    process = psutil.Process(pid)
    rss = process.memory_info().rss / 1e6
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if not rollup.exists():
        return Size(rss, rss)
    line = next(line for line in rollup.read_text().splitlines() if line.startswith("Pss:"))
    return Size(rss, int(line.split()[1]) * 1024 / 1e6)
