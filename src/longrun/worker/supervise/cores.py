"""A runner's share of the cores: how many there are for us, and which variables give libraries the number of their threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from longrun.worker.supervise.memory import cgroup_folders

_OMP = "OMP_NUM_THREADS"  # OpenMP itself: PyTorch, scikit-learn, faiss, CTranslate2, Arrow
#: These come before OMP_NUM_THREADS for one library each, which reads that one when its own is not set.
_BEFORE_OMP = (
    "MKL_NUM_THREADS",  # oneMKL, and PyTorch with it (ATen/ParallelOpenMP.cpp)
    "OPENBLAS_NUM_THREADS",  # NumPy and SciPy as they come from PyPI (OpenBLAS, driver/others/openblas_env.c)
    "BLIS_NUM_THREADS",  # docs/Multithreading.md of BLIS
    "NUMEXPR_NUM_THREADS",  # numexpr/utils.py
)
_OTHERS = (
    "VECLIB_MAXIMUM_THREADS",  # Accelerate on macOS
    "RAYON_NUM_THREADS",  # Rust's Rayon: Hugging Face tokenizers
    "POLARS_MAX_THREADS",  # polars.thread_pool_size
    "OPENCV_FOR_THREADS_NUM",  # OpenCV's reference of environment variables
    "TF_NUM_INTRAOP_THREADS",  # TensorFlow, core/common_runtime/process_util.cc
    "TF_NUM_INTEROP_THREADS",
    "LOKY_MAX_CPU_COUNT",  # joblib and scikit-learn: what `n_jobs=-1` means
)
#: Numexpr refuses more threads than NUMEXPR_MAX_THREADS, which is 64 when it is not set.
_NUMEXPR_MOST = 64


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of this process."""

    usable: int  #: what it may use, at least 1
    seen: int  #: what libraries count: they look at the affinity, and few of them at the quota of a container


@dataclass(frozen=True, slots=True)
class Threads:
    """With how many threads the libraries in one runner compute."""

    count: int
    env: dict[str, str] = field(default_factory=dict)  #: must be set before its interpreter starts


def find_cores() -> Cores:
    """Count them: the affinity, and the CPU quotas of our cgroup and those above it, rounded to whole cores."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return Cores(seen if quota is None else max(1, min(seen, int(quota + 0.5))), seen)


def cpu_quota() -> float | None:
    """How many cores' time our cgroup gets; None = as much as there is."""
    quotas = []
    for folder in cgroup_folders("cpu"):
        try:
            quota, period = (folder / "cpu.max").read_text().split()  # version 2
        except (OSError, ValueError):
            try:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            except OSError:
                continue
        if quota != "max" and int(quota) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def choose_threads(asked: int | None, runners: int, cores: Cores, env: Mapping[str, str]) -> Threads:
    """The threads of each runner of a model.

    What was asked for comes first, then the variables that are set already, then an equal share of the cores. A share that is all that
    libraries count anyway is left to them: of hyperthreads some take fewer, which is better.

    Args:
        asked: LONGRUN_THREADS, else the model's `threads`; None = neither.
        runners: of this model in this worker. Others do not count: they may be idle.
        env: the worker's environment.
    """
    if asked is not None:
        return Threads(asked, _variables(asked, env))
    share = max(1, cores.usable // runners)
    kept = {name for name in (_OMP, *_BEFORE_OMP, *_OTHERS) if env.get(name)}
    if _OMP in kept:
        kept.update(_BEFORE_OMP)
    ours = {} if share >= cores.seen else {name: value for name, value in _variables(share, env).items() if name not in kept}
    return Threads(_first_number(env.get(_OMP, "")) or share, ours)


def _variables(count: int, env: Mapping[str, str]) -> dict[str, str]:
    most = _first_number(env.get("NUMEXPR_MAX_THREADS", "")) or _NUMEXPR_MOST
    return dict.fromkeys((_OMP, *_BEFORE_OMP, *_OTHERS), str(count)) | {"NUMEXPR_NUM_THREADS": str(min(count, most))}


def _first_number(text: str) -> int:
    """Of `4` or `4,2` (OpenMP: by level of nesting) 4; 0 when it is none."""
    first = text.partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0
