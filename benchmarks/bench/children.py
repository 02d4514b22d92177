"""Programs that a benchmark starts, and stops again by their process ids."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from bench.errors import CheckError

STOP_WITHIN = 10.0  # seconds until a program that was told to stop is killed

#: Starts a program that Linux ends when the benchmark is killed.
_LAUNCHER = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Child:
    """A running program in a session of its own, so that Ctrl-C reaches only the benchmark, which then stops it.

    Args:
        command: program and arguments.
        folder: where its output goes, as `<name>.log`.
    """

    def __init__(self, name: str, command: Sequence[str], *, folder: Path, cwd: Path, env: dict[str, str]) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.pid = self._process.pid

    def offspring(self) -> list[psutil.Process]:
        """Its living descendants."""
        try:
            found: list[psutil.Process] = psutil.Process(self.pid).children(recursive=True)
            return found
        except psutil.NoSuchProcess:
            return []

    def check(self) -> None:
        """Raise CheckError, with the end of its output, when it has ended."""
        if self._process.poll() is not None:
            raise CheckError(f"{self.name} ended with status {self._process.returncode}; the end of its output:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        """Tell it to stop, kill what is left of it and its descendants after a while."""
        tree = self.offspring()
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in tree:
            if process.is_running():
                process.kill()
        psutil.wait_procs(tree, timeout=STOP_WITHIN)


def until(ready: Callable[[], bool], child: Child, *, timeout: float, every: float = 0.05) -> None:
    """Wait until `ready()`.

    Raises:
        CheckError: `child` ended meanwhile, or `timeout` seconds passed.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        child.check()
        if time.monotonic() > deadline:
            raise CheckError(f"{child.name} did not get ready within {timeout:g} s; the end of its output:\n{child.tail()}")
        time.sleep(every)
