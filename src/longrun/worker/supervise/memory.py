"""How much memory runners hold, and how much is left here. Elsewhere than on Linux nothing is known."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
#: Limit, use, and the part of the use that the kernel gives back when asked: of cgroups of version 2, then 1.
_FILES = (
    ("memory.max", "memory.current", b"inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", b"total_inactive_file"),
)


def memory_of(sessions: Collection[int]) -> dict[int, int]:
    """Bytes of memory (resident set) that each of these sessions holds: a runner and what it has started, each process counted in full.

    Reads one file for each process of the machine. A session that is not there is left out.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    held: dict[int, int] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may hold anything.
            fields = path.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue  # it has ended just now
        session, pages = int(fields[3]), int(fields[21])
        if session in sessions:
            held[session] = held.get(session, 0) + pages * page
    return held


def available_memory() -> int | None:
    """Bytes that new processes can have: what the machine, our cgroup and those above it leave. None = not known."""
    try:
        meminfo = (_PROC / "meminfo").read_bytes()
    except OSError:
        return None
    kilobytes = value_of(meminfo.replace(b":", b""), b"MemAvailable")
    rooms = [room for folder in cgroup_folders() if (room := _room(folder)) is not None]
    return min([*rooms, *([] if kilobytes is None else [kilobytes * 1024])], default=None)


def cgroup_folders(controller: str = "memory") -> Iterator[Path]:
    """Our cgroup with those above it, as seen from here: inside a container its root is ours.

    Args:
        controller: whose, where each has cgroups of its own (version 1).
    """
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" or controller in controllers.split(","):
            root = _CGROUPS if number == "0" else _CGROUPS / controller
            own = root / path.lstrip("/")
            yield own
            yield from (folder for folder in own.parents if folder.is_relative_to(root))


def _room(folder: Path) -> int | None:
    for limit, used, cache in _FILES:
        try:
            most, now = (folder / limit).read_text().strip(), int((folder / used).read_text())
            freeable = value_of((folder / "memory.stat").read_bytes(), cache) or 0
        except (OSError, ValueError):
            continue
        return None if most == "max" else max(0, int(most) - now + freeable)
    return None


def value_of(text: bytes, name: bytes) -> int | None:
    """The number in the line that begins with `name`; None = there is none."""
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == name:
            return int(words[1])
    return None
