"""Models that say with how many threads they compute."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from longrun import Model

NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS", "NUMEXPR_NUM_THREADS")
#: Seen when the interpreter of a runner has just started.
AT_START = {name: os.environ.get(name) for name in NAMES}


def threads_of_numpy() -> int:
    """With how many threads OpenBLAS computes: it starts all but one of them when it is loaded."""
    before = sum(1 for _ in Path("/proc/self/task").iterdir())
    import numpy as np

    square = np.ones((400, 400))
    assert (square @ square)[0, 0] == 400
    return sum(1 for _ in Path("/proc/self/task").iterdir()) - before + 1


class Computes(Model, queue="cores"):
    """Says what it sees, and what a process sees that it starts."""

    def load(self, device: str) -> None:
        self.blas = threads_of_numpy()

    def predict(self) -> tuple[int, dict[str, str | None], int, str]:
        time.sleep(0.2)  # long enough that the other runners get the next ones
        child = subprocess.run(
            [sys.executable, "-c", "import os; print(os.environ.get('OMP_NUM_THREADS'))"], capture_output=True, text=True
        )
        return os.getpid(), AT_START, self.blas, child.stdout.strip()


class Shared(Computes, processes=2):
    """The same in two runners."""


class Asks(Computes, threads=3):
    """The same with a number of its own."""
