"""A program under test, which tests kill, freeze and thaw by its process id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

#: Starts a program that Linux ends when the thread that started it ends: tests that are killed leave nothing behind.
_LAUNCHER = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Program:
    """A running program in a session of its own.

    Args:
        name: names its log.
        command: program and arguments.
        folder: working folder, and where its output goes as `<name>.log` (added to what is there).
        may_end: it was told beforehand to end by itself some time.
        output: descriptor to which its output goes instead.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, folder: Path, env: dict[str, str], may_end: bool = False, output: int | None = None
    ) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._known: dict[int, psutil.Process] = {}
        self._told_to_end = may_end

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def check(self) -> None:
        """An AssertionError when it has ended by itself."""
        assert self.alive or self._told_to_end, f"{self.name} ended by itself with status {self._process.poll()}:\n{self.tail()}"

    def offspring(self) -> list[psutil.Process]:
        """Every living descendant ever seen, also of a program that has died."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._known |= {process.pid: process for process in psutil.Process(self.pid).children(recursive=True)}
        return [process for process in self._known.values() if lives(process)]

    def kill(self) -> None:
        """SIGKILL to the program alone."""
        self.offspring()
        self._told_to_end = True
        self._process.kill()
        self._process.wait()

    def kill_tree(self) -> None:
        """SIGKILL to the program and all its descendants."""
        tree = self.offspring()
        self.kill()
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def freeze(self, *, tree: bool) -> None:
        """SIGSTOP to the program, with `tree` to its descendants too."""
        self._signal(signal.SIGSTOP, tree)

    def thaw(self, *, tree: bool) -> None:
        """SIGCONT after `freeze`."""
        self._signal(signal.SIGCONT, tree)

    def _signal(self, number: signal.Signals, tree: bool) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        for process in self.offspring() if tree else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 10.0) -> int:
        """Ask it to end, and wait; its exit status. Kills it, with all its descendants, after `timeout` seconds."""
        self.offspring()
        self._told_to_end = True
        if self.alive:
            self.thaw(tree=True)
            self._process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        self.kill_tree()
        return self._process.wait()

    def ended(self, timeout: float = 60.0) -> int:
        """Wait until it has ended by itself; its exit status."""
        self._told_to_end = True
        return self._process.wait(timeout)

    def tail(self, lines: int = 40) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended; one that only waits to be reaped has."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def until(ready: Callable[[], bool], what: str, *, timeout: float, every: float = 0.05) -> None:
    """Wait until `ready()`; an AssertionError says `what` did not happen within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(every)
