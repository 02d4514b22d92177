"""Which runner runs on which device: a pure decision, and the count of GPUs without touching CUDA."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where one runner runs.

    Args:
        device: what `load` gets.
        env: environment of the process; `CUDA_VISIBLE_DEVICES` must be set before the interpreter starts.
    """

    device: str
    env: dict[str, str] = field(default_factory=dict)


def visible_gpus() -> list[str]:
    """Names of the GPUs this process may use. Reads the environment and /proc only: CUDA must not be initialised in the worker."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(n) for n, _ in enumerate(sorted(folder.iterdir()))] if folder.is_dir() else []


def place_runners(device: str, gpus: int, processes: int, visible: list[str]) -> list[Place]:
    """One entry for each runner of a model.

    Args:
        device: the operator's choice: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        gpus: GPUs a runner of the model wants.
        processes: runners asked for; a model with GPUs gets one per (group of) visible GPUs times this number.
        visible: see `visible_gpus`.
    """
    if device in ("cpu", "mps"):
        return [Place(device)] * processes
    if device.startswith("cuda:"):
        return [Place("cuda:0", {"CUDA_VISIBLE_DEVICES": device.removeprefix("cuda:")})] * processes
    wanted = max(gpus, 1 if device == "cuda" else 0)
    groups = [visible[i : i + wanted] for i in range(0, len(visible) - wanted + 1, wanted)] if wanted else []
    if not groups:
        return [Place("cuda:0" if device == "cuda" else "cpu")] * processes
    return [Place("cuda:0", {"CUDA_VISIBLE_DEVICES": ",".join(group)}) for group in groups for _ in range(processes)]
