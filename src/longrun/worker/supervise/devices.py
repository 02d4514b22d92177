"""Which runner runs on which device: a pure decision, and the count of GPUs without touching CUDA."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

#: Names of no GPU.
_NONE = ("", "-1", "NoDevFiles", "none", "void")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one runner runs."""

    device: str  #: what `load` gets
    env: dict[str, str] = field(default_factory=dict)  #: of the process: what must be set before its interpreter starts
    threads: int | None = None  #: with which its libraries compute; None = not decided


def visible_gpus() -> list[str]:
    """The GPUs this process may use, as `CUDA_VISIBLE_DEVICES` names them: numbers, UUIDs (`GPU-…`) or MIG instances (`MIG-…`).

    Reads the environment and /proc only: CUDA must not be initialised in the worker.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # CUDA itself stops at the first name that is none.
        return list(takewhile(lambda name: name not in _NONE, (name.strip() for name in named.split(","))))
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(n) for n, _ in enumerate(sorted(folder.iterdir()))] if folder.is_dir() else []


def refusal(device: str, wanted: Mapping[str, int], visible: Sequence[str], platform: str = sys.platform) -> str:
    """Why the models cannot be placed as the operator said, and what to do about it; empty = they can.

    Args:
        device: the operator's choice, see `place_runners`.
        wanted: GPUs for each runner, by model.
    """
    there = f"{len(visible)} visible here ({', '.join(visible)})" if visible else "none is visible here"
    if device == "mps" and platform != "darwin":
        return "device=mps is for Macs; set LONGRUN_DEVICE to auto, cpu or cuda."
    if device in ("cpu", "mps"):
        return ""
    if device != "auto" and not visible:
        return f"device={device}, but of GPUs {there}: install the NVIDIA driver, look at CUDA_VISIBLE_DEVICES, or set LONGRUN_DEVICE=cpu."
    if device.startswith("cuda:") and int(device.removeprefix("cuda:")) >= len(visible):
        return f"device={device}, but of GPUs there are {there}: the last one is cuda:{len(visible) - 1}."
    most = 1 if device.startswith("cuda:") else len(visible)
    for model, gpus in wanted.items():
        if visible and gpus > most:
            have = f"device={device} is one GPU" if device.startswith("cuda:") else f"of GPUs there are {there}"
            return f"{model} has gpus={gpus}, but {have}: run it where there are more, or set LONGRUN_DEVICE=cpu."
    return ""


def place_runners(device: str, gpus: int, processes: int, visible: Sequence[str]) -> list[Place]:
    """One entry for each runner of a model. What `refusal` refuses must not come here.

    Args:
        device: the operator's choice: `auto`, `cpu`, `mps`, `cuda`, or `cuda:N`, the N-th of the visible GPUs.
        gpus: GPUs a runner of the model wants. With `auto` and no GPU at all, it runs on the CPU.
        processes: runners asked for; a model with GPUs gets so many for each (group of) visible GPUs.
    """
    if device in ("cpu", "mps"):
        return [Place(device)] * processes
    if device.startswith("cuda:"):
        visible = [visible[int(device.removeprefix("cuda:"))]]
    size = max(gpus, 0 if device == "auto" else 1)
    if not size or not visible:
        return [Place("cpu")] * processes
    groups = [visible[i : i + size] for i in range(0, len(visible) - size + 1, size)]
    return [Place("cuda:0", {"CUDA_VISIBLE_DEVICES": ",".join(group)}) for group in groups for _ in range(processes)]
