"""Kills the processes that models have started when the worker itself is killed: a small process beside the worker.

A runner leads a session of its own, so what a model starts (a helper server, workers that load data) is in its process group. When a runner
ends, the worker ends the group. When the worker itself is killed, Linux ends the runners, but not their children: this does. It holds the
other end of a pipe on which the worker names the groups, and the kernel closes that pipe however the worker ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress


class Guard:
    """The worker's end. Not there (it could not be started, or was killed) until `ensure_running` is called the next time.

    Args:
        env: the whole environment of the process; None = ours.
    """

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: set[int] = set()

    @property
    def pid(self) -> int:
        """Process id, 0 when it does not run."""
        return self._process.pid if self._process else 0

    def add(self, group: int) -> None:
        """A process group that must not outlive the worker."""
        self._groups.add(group)
        self._say(f"+{group}\n")

    def discard(self, group: int) -> None:
        """The group has ended: its number may be given to others."""
        self._groups.discard(group)
        self._say(f"-{group}\n")

    def ensure_running(self) -> None:
        """Start the process, unless it runs. Raises OSError when that cannot be."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        command = [sys.executable, "-I", "-S", __file__]
        self._process = subprocess.Popen(command, env=self._env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        for group in self._groups:
            self._say(f"+{group}\n")

    def close(self) -> None:
        """End it, and with it every group that is left."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._process = None

    def _say(self, line: str) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            with suppress(OSError):  # it was killed; `ensure_running` starts another and sends it everything
                os.write(self._process.stdin.fileno(), line.encode())


def end_group(group: int) -> None:
    """SIGKILL to every process of a group, if there is one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def main() -> None:
    """Read `+group` and `-group` until the worker has ended; end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
    for group in groups:
        end_group(group)


if __name__ == "__main__":
    main()
