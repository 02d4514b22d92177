"""Two questions to the system that are asked at each job's beginning and end.

Python's own functions for them let go of the GIL, and a runner's other threads are quick to take it: a hand-over costs ten times as much
as the answer, which never makes anybody wait.
"""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.PyDLL(None)


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class Readable:
    """Whether there is something to read from any of the descriptors."""

    _IN = 1  # POLLIN, on Linux and macOS

    def __init__(self, descriptors: list[int]) -> None:
        self._fds = (_PollFd * len(descriptors))(*[_PollFd(fd, self._IN, 0) for fd in descriptors])
        self._arguments = self._fds, ctypes.c_ulong(len(descriptors)), 0
        self._poll = _libc.poll

    def __call__(self) -> bool:
        """Look, without waiting."""
        return bool(self._poll(*self._arguments) > 0)


_info = ctypes.create_string_buffer(256)  # a siginfo_t, which nobody reads
_ANY_CHILD = 0, 0, _info, os.WEXITED | os.WNOHANG | os.WNOWAIT  # idtype P_ALL


def has_children() -> bool:
    """Whether this process has children, ended ones that nobody has waited for included."""
    return bool(_libc.waitid(*_ANY_CHILD) == 0)
