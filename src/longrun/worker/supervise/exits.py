"""How a runner ended: what the kernel says of it, and what follows for the cause."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from longrun.jobs.failure import JobFailure
from longrun.store.claims import Mode
from longrun.worker.supervise.memory import cgroup_folders, value_of

#: `ru_maxrss` counts kilobytes, on macOS bytes.
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a runner."""

    status: int  #: exit status; negative = the number of the signal that ended it
    peak_memory: int | None = None  #: most bytes of memory that the process held at once, the loaded model included; None = not known
    ours: bool = False  #: the worker killed it
    oom: bool | None = None  #: the kernel's out-of-memory killer struck here while it ran; None = this machine does not say
    at: float = field(default_factory=time.monotonic, compare=False)  #: monotonic time, as far as is known

    @property
    def signal(self) -> str | None:
        """Name of the signal that ended it, such as `SIGSEGV`."""
        if self.status >= 0:
            return None
        return signal.Signals(-self.status).name if -self.status in set(signal.Signals) else f"signal {-self.status}"

    @property
    def exit_code(self) -> int | None:
        """Exit status of a process that no signal ended."""
        return self.status if self.status >= 0 else None

    @property
    def words(self) -> str:
        """`SIGSEGV`, or `exit code 3`."""
        return self.signal or f"exit code {self.status}"

    @property
    def hint(self) -> str | None:
        """What is behind a SIGKILL, as far as it can be known."""
        if self.signal != "SIGKILL":
            return None
        if self.oom:
            return "The kernel killed it because memory ran out: its count of such kills rose."
        if self.ours:
            return "It had closed its pipe to the worker and was killed for that."
        if self.oom is None:
            return "Somebody sent SIGKILL; it may have been the kernel's out-of-memory killer."
        return "Somebody sent SIGKILL; it was not the kernel's out-of-memory killer, whose count did not rise."


def lost_failure(attempt: int, end: Exit, mode: Mode, others: int, *, waited: bool = False) -> JobFailure:
    """What the record of an attempt says when its runner ended with `others` more in it; `mode`: how the job is handed back.

    `waited`: its code did not run, but waited for steps.
    """
    if waited:
        text = f"The process that held the job, which waited for its steps, died ({end.words})."
        return JobFailure("worker-lost", text, attempt, signal=end.signal, exit_code=end.exit_code)
    if mode == "release":
        return JobFailure("worker-lost", "The process that ran the job was ended to stop another job in it.", attempt)
    text = f"The process that ran the job died ({end.words})."
    if mode == "suspect":
        text = f"The process that ran the job died ({end.words}) with {others} more in it; which of them did it is not known."
    elif mode == "unstarted":
        text = f"The process died ({end.words}) before it began with the job."
    hint, peak = end.hint, end.peak_memory
    return JobFailure("worker-lost", text, attempt, signal=end.signal, exit_code=end.exit_code, peak_memory=peak, hint=hint)


def peak_memory(pid: int) -> int | None:
    """Bytes that a living process has held at most; None where `/proc` does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return None
    _, found, rest = status.partition(b"VmHWM:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if found else None


def oom_kills() -> int | None:
    """How often the kernel's out-of-memory killer has struck in our cgroup (or, failing that, on this machine); None = not known."""
    where = _oom_counter()
    if where is None:
        return None
    try:
        return value_of(where.read_bytes(), b"oom_kill")
    except OSError:
        return None


@cache
def _oom_counter() -> Path | None:
    """The first file that counts these kills: of the nearest cgroup that has one, or of the machine."""
    places = [folder / name for folder in cgroup_folders() for name in ("memory.events", "memory.oom_control")]
    for place in [*places, Path("/proc/vmstat")]:
        try:
            if value_of(place.read_bytes(), b"oom_kill") is not None:
                return place
        except OSError:
            continue
    return None
