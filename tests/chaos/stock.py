"""A cluster that runs `stock_app.py` in place of Longrun: same Valkey, same surface, same judge."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.cluster import START_WITHIN, Cluster
from tests.chaos.program import Program, until

ROOT = Path(__file__).parents[2]


class StockCluster(Cluster):
    """See `Cluster`. `width`: processes of each worker's pool."""

    width = 1

    def workers_ready(self, number: int = 1) -> None:
        """Wait until so many living workers say that they are ready."""

        def ready() -> bool:
            self.check()
            workers = [program for program in self.programs if program.name.startswith("worker") and program.alive]
            return sum(" ready." in worker.log.read_text(errors="replace") for worker in workers) >= number

        until(ready, f"{number} workers are ready", timeout=START_WITHIN)

    def _start(self, verb: str, options: list[str], more: Mapping[str, str] | None = None) -> Program:
        number = len(self.programs)
        if verb == "api":
            command = ["uvicorn", "tests.chaos.stock_app:app", "--port", str(self.port), "--no-access-log", "--log-level", "warning"]
        else:
            options = f"-c {self.width} -n w{number}@%h -l info --without-mingle --without-gossip"  # the last two: a quicker start
            command = ["celery", "-A", "tests.chaos.stock_app:celery", "worker", *options.split()]
        env = {"PYTHONPATH": str(ROOT), "STOCK_URL": self._redis_url, "CHAOS_LOG": str(self.folder / "runs.log"), "C_FORCE_ROOT": "1"}
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("LONGRUN_", "CELERY_"))}
        program = Program(f"{verb}-{number}", [sys.executable, "-m", *command], folder=self.folder, env=clean | env | dict(more or {}))
        self.programs.append(program)
        return program
