"""Writes to the operator's stdout and stderr that never raise, and never wait for long.

A disk may be full, the reader of a pipe may have ended, or it may read no more: then a plain write raises, or waits for ever, in the middle
of whatever was about to log. Here a line is written at once where that is possible. What the descriptor does not take now waits in
memory, up to a limit, and a thread writes it later; beyond that lines are lost and counted, and the log says how many once it can.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import socket
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, TextIO, cast

#: Bytes that may wait to be written. A line that is begun below this is kept whole, however long it is.
_ROOM = 1 << 20
#: Seconds that a process which ends gives to its last lines, where nobody takes them.
_LAST_LINES = 0.5
#: Bytes of a line that are kept until its end.
_LONGEST_PART = 8192
#: Seconds until a descriptor that said it was writable, and was not, is tried again.
_PAUSE = 0.05


class Output:
    """One descriptor that the operator reads. It is shared with other processes, so its flags stay as they are.

    Args:
        descriptor: 1, 2 or a copy of them; one that is closed takes nothing.
        patience: seconds that a write waits for room, so that a reader which is only slow misses nothing; once it has waited in
            vain, further writes do not wait until something was read.

    Attributes:
        lost: lines that could not be written since the start.
    """

    #: Makes the line that says how many were lost since the last one was written.
    in_form: Callable[[int], str] = "{} lines of the log were lost".format

    def __init__(self, descriptor: int, *, patience: float = 0.2) -> None:
        self.lost = 0
        self._patience = patience
        self._place = place(descriptor)
        self._fd, self._send, self._waits = _way(descriptor)
        self._unreported, self._torn = 0, False
        self._afresh()
        _outputs.append(self)

    def _afresh(self) -> None:
        # May be taken again by the thread that has it: collecting garbage can print.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._backlog: deque[bytes] = deque()
        self._held = 0
        self._stuck = self._has_thread = False

    def fileno(self) -> int:
        """A descriptor of its own for the same place: not to be closed. On Linux a write to it does not wait where the place is a pipe."""
        return self._fd

    @property
    def has_own_flags(self) -> bool:
        """Whether `fileno` shares no flags with other processes, and never waits."""
        return self._fd >= 0 and not os.get_blocking(self._fd)

    @property
    def lock(self) -> threading.RLock:
        """For those who put lines together before they write them."""
        return self._lock

    def write(self, data: bytes) -> None:
        """Write whole lines, in one write where the system does that."""
        with self._lock:
            if self._unreported and not self._backlog and not self._waits:
                self._report()
            if self._backlog or self._waits:
                self._keep(data)
            elif self._unreported:
                self._lose(data)
            else:
                self._take(self._try(data), data)

    def finish(self, until: float) -> None:
        """Wait for what is not written yet, until this monotonic time at most; to be called when the process ends."""
        with self._changed:
            while self._backlog and not self._stuck and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    def _try(self, data: bytes) -> bytes | None:
        """Write, and return the rest that has to wait; None = what is left cannot be written."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._send(view) :]
        except BlockingIOError:
            return bytes(view)
        except (OSError, ValueError):
            self._torn = self._torn or len(view) < len(data)
            return None
        self._torn = False
        return b""

    def _take(self, rest: bytes | None, data: bytes) -> None:
        if rest is None:
            self._lose(data)
        elif rest:
            self._keep(rest)

    def _lose(self, data: bytes) -> None:
        lines = max(1, data.count(b"\n"))
        self.lost += lines
        self._unreported += lines

    def _report(self) -> None:
        """Say how many lines were lost, if that can be written."""
        line = self._loss()
        rest = self._try(line)
        if rest is not None:
            self._unreported = 0
            self._take(rest, line)

    def _loss(self) -> bytes:
        # A line that was begun is ended first.
        return f"{chr(10) if self._torn else ''}{Output.in_form(self._unreported)}\n".encode(errors="backslashreplace")

    # -- what waits -------------------------------------------------------------------------------------------------------

    def _keep(self, data: bytes) -> None:
        if self._held >= _ROOM and self._patience and not self._stuck:
            self._stuck = not self._changed.wait_for(lambda: self._held < _ROOM, self._patience)
        if self._held >= _ROOM or (not self._has_thread and not self._start()):
            self._lose(data)
            return
        self._backlog.append(data)
        self._held += len(data)
        self._changed.notify_all()

    def _start(self) -> bool:
        self._has_thread = True
        try:
            threading.Thread(target=self._work, name="output", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self._has_thread = False
        return self._has_thread

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._backlog)
                first = self._backlog[0]
            if not self._waits:
                self._until_writable()
            rest = self._try(first)
            with self._changed:
                self._written(first, rest)
                self._changed.notify_all()
            if rest == first:
                time.sleep(_PAUSE)

    def _written(self, first: bytes, rest: bytes | None) -> None:
        """What has become of the first that waits."""
        self._held -= len(first) - len(rest or b"")
        if rest:
            self._backlog[0] = rest
        else:
            self._backlog.popleft()
        if rest is None:
            self._lose(first)
        elif rest != first:
            self._stuck = False
        if rest == b"" and not self._backlog and self._unreported:
            self._backlog.append(self._loss())
            self._held += len(self._backlog[0])
            self._unreported = 0

    def _until_writable(self) -> None:
        ready = select.poll()
        ready.register(self._fd, select.POLLOUT)
        ready.poll()


def place(descriptor: int) -> tuple[int, int] | None:
    """What a descriptor leads to; None = it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _way(descriptor: int) -> tuple[int, Callable[[memoryview], int], bool]:
    """Our own descriptor for the same place, how to write to it, and whether such a write may wait."""
    try:
        kind = os.fstat(descriptor).st_mode
        ours = os.dup(descriptor)
    except OSError:
        return -1, _closed, False
    if stat.S_ISREG(kind):
        return ours, lambda data: os.write(ours, data), False
    if stat.S_ISSOCK(kind):
        sock = socket.socket(fileno=ours)
        return ours, lambda data: sock.send(data, socket.MSG_DONTWAIT), False
    # Opened anew, a pipe or terminal gets flags that nobody shares. Refused to other users than its own, and unknown outside of Linux.
    with suppress(OSError):
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        os.close(ours)
        return own, lambda data: os.write(own, data), False
    return ours, lambda data: os.write(ours, data), True


def _closed(_: memoryview) -> int:
    raise OSError


# -- the outputs of this process --------------------------------------------------------------------------------------------

_outputs: list[Output] = []
_standard: dict[int, Output] = {}
_given: dict[int, int] = {}


def standard(number: int) -> Output:
    """The process's own: 1 = stdout, 2 = stderr."""
    output = _standard.get(number)
    if output is None or output._place != place(number):
        output = _standard[number] = Output(number)
    return output


def lost_lines() -> int:
    """Lines of this process that could not be written."""
    return sum(output.lost for output in _standard.values())


def finish() -> None:
    """Give the last lines a moment to be written; to be called before the process ends by itself."""
    until = time.monotonic() + _LAST_LINES
    for output in _outputs:
        output.finish(until)


def take_over(*names: Literal["stdout", "stderr"]) -> None:
    """Have what this process writes to these streams of `sys` go through here from now on: no such write fails."""
    for name in names:
        number = ("stdout", "stderr").index(name) + 1
        before = getattr(sys, name)
        encoding = getattr(before, "encoding", None) or "utf-8"
        stream = text_stream(_Lines(standard(number), number, name), encoding)
        with suppress(OSError, ValueError, AttributeError):
            before.flush()
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def take_over_descriptors() -> None:
    """Have what C code and programs write past Python not wait either; to be called where no models run, but may be imported.

    Where a pipe or terminal was opened anew, that takes the place of descriptors 1 and 2.
    """
    for number in (1, 2):
        output = standard(number)
        if output.has_own_flags and number not in _given:
            _given[number] = os.dup(number)
            os.dup2(output.fileno(), number)


def given(number: int) -> int | None:
    """Where the descriptor 1 or 2 that this process was started with is now, to hand it on; None: in its place."""
    return _given.get(number)


def text_stream(binary: io.BufferedIOBase, encoding: str = "utf-8") -> io.TextIOWrapper:
    """Text that is passed on at once; what the encoding lacks is written as escapes."""
    return io.TextIOWrapper(cast(Any, binary), encoding=encoding, errors="backslashreplace", newline="\n", write_through=True)


def operator_stream(output: Output) -> TextIO:
    """Text for `output` whose `fileno` is the output's own descriptor, for those who write to it past Python, such as faulthandler."""
    return text_stream(_Lines(output, output.fileno(), "operator"))


class _Lines(io.BufferedIOBase):
    """The binary side of a text stream. `print` writes each word and the end of the line apart: they are put together."""

    mode = "wb"

    def __init__(self, output: Output, number: int, name: str) -> None:
        self.name = f"<{name}>"
        self._output, self._number = output, number
        self._kept = b""

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor that programs started with this stream get."""
        return self._number

    def isatty(self) -> bool:
        """Whether a person sees it."""
        return os.isatty(self._number)

    def write(self, data: Any) -> int:
        """Takes all of `data`."""
        new = bytes(data)
        with self._output.lock:
            kept, self._kept = self._kept + new, b""
            if b"\n" in new or len(kept) > _LONGEST_PART:
                self._output.write(kept)
            else:
                self._kept = kept
        return len(new)

    def flush(self) -> None:
        """Write what is kept, whether its line has ended or not."""
        with self._output.lock:
            kept, self._kept = self._kept, b""
            if kept:
                self._output.write(kept)


def _in_child() -> None:
    """What waits in the parent is the parent's to write, and its thread and the owners of its locks are not here."""
    for output in _outputs:
        output._afresh()


os.register_at_fork(after_in_child=_in_child)
atexit.register(finish)
