"""How long the code of the jobs in a runner has run, in memory that the worker reads too: so it is known of one that hangs or has died.

Times are those of `time.monotonic`, which is one clock for all processes of a machine.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile

from longrun.jobs.fence import Fence

#: An entry is 15 numbers of eight bytes: twelve that hold the job's id and the fence of the run, and one each for what follows.
_KEY, _ENTRY = struct.Struct("=96s"), 15
_BEGUN, _ENTERED, _SECONDS = 12, 13, 14
#: Entries at most, so many jobs whose code runs at once; memory that is never written costs nothing. More than that are not noted.
_MOST = 16_384
#: Before the entries stands how many of them were ever in use.
_SIZE = 8 * (1 + _MOST * _ENTRY)
#: Stands for an entry where none is free.
_NONE = 0


class CodeTimes:
    """See the module. The runner writes and the worker reads; nobody waits.

    Of each run: job id and fence, when its code was first entered, since when it is in there (0 = it is not), and seconds before that.

    Args:
        descriptor: of a file made by `new_memory`; -1: nobody else is to see it.
    """

    def __init__(self, descriptor: int = -1) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE)
        self._numbers = memoryview(self._memory).cast("d")
        self._free: list[int] = []

    # -- the runner -------------------------------------------------------------------------------------------------------

    def begin(self, job_id: str, fence: Fence, now: float) -> int:
        """The code of a job is entered for the first time. Returns its entry."""
        numbers = self._numbers
        if self._free:
            entry = self._free.pop()
        elif (count := int(numbers[0])) < _MOST:
            entry = 1 + count * _ENTRY
            numbers[0] = count + 1
        else:
            return _NONE
        _KEY.pack_into(self._memory, entry * 8, _key(job_id, fence))
        numbers[entry + _BEGUN], numbers[entry + _ENTERED], numbers[entry + _SECONDS] = now, now, 0.0
        return entry

    def enter(self, entry: int, now: float) -> None:
        """Its code is entered again."""
        if entry:
            self._numbers[entry + _ENTERED] = now

    def leave(self, entry: int, seconds: float) -> None:
        """Its code has returned, and has run for so many seconds in all."""
        if entry:
            self._numbers[entry + _SECONDS], self._numbers[entry + _ENTERED] = seconds, 0.0

    def release(self, entry: int) -> None:
        """Its code will not be entered any more. What is noted stays until another job needs the entry."""
        if entry:
            self._free.append(entry)

    # -- the worker -------------------------------------------------------------------------------------------------------

    def read(self, job_id: str, fence: Fence, now: float) -> tuple[float, float] | None:
        """When the code of a run was first entered, and seconds in it until `now`; None: it has not begun."""
        end = 8 * (1 + int(self._numbers[0]) * _ENTRY)
        # A runner that dies may hold thousands of jobs, each of which is looked for: that is no loop of Python's.
        at = self._memory.find(_KEY.pack(_key(job_id, fence)), 8, end)
        if at < 0:
            return None
        begun, entered, seconds = self._numbers[at // 8 + _BEGUN : at // 8 + _ENTRY]
        return begun, seconds + (max(0.0, now - entered) if entered else 0.0)


def _key(job_id: str, fence: Fence) -> bytes:
    return f"{job_id}/{fence}".encode()


def new_memory() -> int:
    """The descriptor of a file for `CodeTimes` that only those see who get it. It is in memory where the system can do that."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("longrun-code-times")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _SIZE)
    return descriptor
