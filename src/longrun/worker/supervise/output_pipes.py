"""The worker's end of what a runner writes to its file descriptors 1 and 2.

The runner reads these pipes itself, for it alone knows which job writes. Here is read what it cannot: the last words of a process that
died, and what C code writes that keeps the GIL until the pipe is full, and would wait for ever. That reaches the operator's log alone.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from contextlib import suppress

from longrun.observe.output import given, standard
from longrun.worker.runner.descriptors import PIPE_SIZE, read_some

#: A pipe that holds more than this, and the same twice, is not read by anybody.
_STUCK = 1 << 15


class OutputPipes:
    """The pipes of one runner, until `close`."""

    def __init__(self) -> None:
        self._pipes = {number: _pipe() for number in (1, 2)}
        self._operator = {number: _log(number) for number in (1, 2)}
        self._held = dict.fromkeys(self._pipes, 0)

    @property
    def ends(self) -> tuple[int, int]:
        """What the runner gets as its descriptors 1 and 2."""
        return self._pipes[1][1], self._pipes[2][1]

    @property
    def plan(self) -> dict[int, tuple[int, int]]:
        """For the runner: descriptor → (where to read, the operator's log). It must inherit all of these."""
        return {number: (reads, self._operator[number]) for number, (reads, _) in self._pipes.items()}

    def started(self) -> None:
        """The runner has its ends."""
        for _, writes in self._pipes.values():
            os.close(writes)

    def drain_stuck(self) -> None:
        """To be called now and then: read what nobody reads."""
        for number, (reads, _) in self._pipes.items():
            held = struct.unpack("i", fcntl.ioctl(reads, termios.FIONREAD, b"\0" * 4))[0]
            if held > _STUCK and held == self._held[number]:
                self._pass_on(number)
            self._held[number] = held

    def close(self) -> None:
        """The runner has ended: what it said last, then the end of the pipes."""
        for number in self._pipes:
            self._pass_on(number)
            os.close(self._pipes[number][0])
            os.close(self._operator[number])
        self._pipes = {}

    def _pass_on(self, number: int) -> None:
        for data in read_some(self._pipes[number][0]):
            standard(number).write(data)


def _pipe() -> tuple[int, int]:
    reads, writes = os.pipe()
    os.set_blocking(reads, False)
    # Larger than usual, so that floods pass in fewer turns. Refused to users with very many pipes, and unknown outside of Linux.
    with suppress(OSError, AttributeError):
        fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return reads, writes


def _log(number: int) -> int:
    try:
        return os.dup(given(number) or number)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
