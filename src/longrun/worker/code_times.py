"""How long the code of the jobs in a runner has run, in memory that the worker reads too: so it is known of one that hangs or has died.

Times are those of `time.monotonic`, which is one clock for all processes of a machine.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile

#: Job id, attempt, when its code was first entered, since when it is in there (0 = it is not), and seconds in its code before that.
_ENTRY = struct.Struct("=40sIddd")
_ENTERED, _ENTERED_AND_SECONDS = struct.Struct("=d"), struct.Struct("=dd")
_AT_ENTERED = struct.calcsize("=40sId")
#: How many entries were ever in use.
_COUNT = struct.Struct("=I")
#: Entries at most, so many jobs whose code runs at once; memory that is never written costs nothing. More than that are not noted.
_MOST = 16_384
_SIZE = _COUNT.size + _MOST * _ENTRY.size
#: Stands for an entry where none is free.
_NONE = 0


class CodeTimes:
    """See the module. The runner writes and the worker reads; nobody waits.

    Args:
        descriptor: of a file made by `new_memory`; -1: nobody else is to see it.
    """

    def __init__(self, descriptor: int = -1) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE)
        self._free: list[int] = []
        self._count = 0

    # -- the runner -------------------------------------------------------------------------------------------------------

    def begin(self, job_id: str, attempt: int, now: float) -> int:
        """The code of a job is entered for the first time. Returns its entry."""
        if self._free:
            entry = self._free.pop()
        elif self._count < _MOST:
            entry = _COUNT.size + self._count * _ENTRY.size
            self._count += 1
            _COUNT.pack_into(self._memory, 0, self._count)
        else:
            return _NONE
        _ENTRY.pack_into(self._memory, entry, job_id.encode(), attempt, now, now, 0.0)
        return entry

    def enter(self, entry: int, now: float) -> None:
        """Its code is entered again."""
        if entry:
            _ENTERED.pack_into(self._memory, entry + _AT_ENTERED, now)

    def leave(self, entry: int, seconds: float) -> None:
        """Its code has returned, and has run for so many seconds in all."""
        if entry:
            _ENTERED_AND_SECONDS.pack_into(self._memory, entry + _AT_ENTERED, 0.0, seconds)

    def release(self, entry: int) -> None:
        """Its code will not be entered any more. What is noted stays until another job needs the entry."""
        if entry:
            self._free.append(entry)

    # -- the worker -------------------------------------------------------------------------------------------------------

    def read(self, job_id: str, attempt: int, now: float) -> tuple[float, float] | None:
        """When the code of a job was first entered, and seconds in it until `now`; None: it has not begun."""
        wanted = job_id.encode().ljust(40, b"\0")[:40]
        (count,) = _COUNT.unpack_from(self._memory, 0)
        for number in range(count):
            found, its_attempt, begun, entered, seconds = _ENTRY.unpack_from(self._memory, _COUNT.size + number * _ENTRY.size)
            if found == wanted and its_attempt == attempt:
                return begun, seconds + (max(0.0, now - entered) if entered else 0.0)
        return None


def new_memory() -> int:
    """The descriptor of a file for `CodeTimes` that only those see who get it. It is in memory where the system can do that."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("longrun-code-times")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _SIZE)
    return descriptor
