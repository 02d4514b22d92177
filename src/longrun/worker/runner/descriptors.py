"""The file descriptors 1 and 2 of a runner: the worker made pipes of them, which are read here."""

from __future__ import annotations

import ctypes
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

from longrun.observe.output import Output
from longrun.worker.runner.syscalls import Readable

#: Bytes that a pipe holds at most.
PIPE_SIZE = 1 << 20


class Descriptors:
    """Reads what comes through, passes it on to the operator, and says what it was.

    Args:
        pipes: descriptor → (where to read what was written to it, the operator's log).
    """

    def __init__(self, pipes: dict[int, tuple[int, Output]]) -> None:
        self._pipes = pipes
        self._look()
        for reads, _ in pipes.values():
            os.set_blocking(reads, False)
            os.set_inheritable(reads, False)
        _unbuffer_libc()

    def _look(self) -> None:
        self._readable = Readable([reads for reads, _ in self._pipes.values()])

    def start(self, lock: AbstractContextManager[Any], written: Callable[[int, bytes], None]) -> None:
        """Read from now on; `written` gets descriptor and data, under `lock`."""
        self._lock, self._written = lock, written
        threading.Thread(target=self._read, name="descriptors", daemon=True).start()

    def drain(self) -> None:
        """Read what was written until now; to be called under the lock."""
        if self._readable():
            for source, (reads, operator) in list(self._pipes.items()):
                self._drain(source, reads, operator)

    def _drain(self, source: int, reads: int, operator: Output) -> None:
        for data in read_some(reads):
            if not data:
                # The model has closed its own 1 or 2.
                del self._pipes[source]
                self._look()
                return
            operator.write(data)
            self._written(source, data)

    def _read(self) -> None:
        """What code writes that gives nobody else a turn, and what comes between jobs."""
        while self._pipes:
            ready = select.poll()
            for reads, _ in self._pipes.values():
                ready.register(reads, select.POLLIN)
            ready.poll()
            with self._lock:
                self.drain()


def read_some(reads: int) -> Iterator[bytes]:
    """What is in a pipe; empty bytes at its end. No more than it can have held when reading began: some programs never stop writing."""
    left = PIPE_SIZE
    while left > 0:
        try:
            data = os.read(reads, 1 << 16)
        except BlockingIOError:
            return
        yield data
        if not data:
            return
        left -= len(data)


def write_all(number: int, data: bytes) -> None:
    """Write to a descriptor that the model's code has put in the place of ours. That this is not to be had must not be its trouble."""
    view = memoryview(data)
    with suppress(OSError):
        while view:
            view = view[os.write(number, view) :]


def _unbuffer_libc() -> None:
    """Have what C code prints come at once: libc keeps it back when its stdout is no terminal, until long after the job has ended."""
    with suppress(AttributeError, ValueError, OSError):
        libc = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(libc, "__stdoutp" if sys.platform == "darwin" else "stdout")
        libc.setvbuf(stdout, None, 2, 0)  # 2 = _IONBF
