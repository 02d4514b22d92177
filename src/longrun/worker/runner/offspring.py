"""Processes that jobs have left behind: they share the descriptors 1 and 2 of the runner, and what they write is not the next job's."""

from __future__ import annotations

import os
from pathlib import Path

from longrun.worker.runner.syscalls import has_children


class Offspring:
    """Knows the processes that were there when the models were loaded, and looks whether there are others.

    Attributes:
        strangers: a process lives that was not there then.
    """

    def __init__(self) -> None:
        self._known: set[int] = set()
        self.strangers = False

    def know(self) -> None:
        """Those that live now are no strangers."""
        self._known = _living()

    def look(self) -> None:
        """Find out; costs 1 us while there is no process at all. Where the system does not list them, any counts as a stranger."""
        self.strangers = has_children() and not (_living() or {0}) <= self._known


def _living() -> set[int]:
    """Children of this process that have not ended."""
    children = set()
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            children |= {int(number) for number in path.read_text().split()}
        except OSError:
            continue  # the thread has ended just now
    return {pid for pid in children if _lives(pid)}


def _lives(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
