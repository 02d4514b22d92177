"""Places where output cannot go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unread_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that is full and that nobody reads: (where it would be read, where a write waits for ever)."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    for size in (4096, 1):
        try:
            while True:
                os.write(writes, b"x" * size)
        except BlockingIOError:
            pass
    os.set_blocking(writes, True)
    try:
        yield reads, writes
    finally:
        os.close(writes)
        os.close(reads)


def read_all(reads: int) -> bytes:
    """What is in a pipe now."""
    os.set_blocking(reads, False)
    found = b""
    try:
        while data := os.read(reads, 1 << 16):
            found += data
    except BlockingIOError:
        pass
    return found
