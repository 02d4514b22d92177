"""The first process of a container: it buries the dead, and passes signals on.

Whatever loses its parent becomes a child of process 1, and stays a zombie until that waits for it; and a signal that process 1 does not
handle is ignored. So there a small process stays behind, which does only this, and everything else is done by its child (decision 41).
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

#: Not to be passed on: the kernel sends them for what the process itself does, and SIGCHLD is for the parent.
_OWN = {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP}


def stay_behind_as_first() -> None:
    """In process 1: fork, and return in the child only; the parent exits with its status. In any other process: do nothing.

    To be called before there are threads.
    """
    if os.getpid() != 1:
        return
    signals = {number for number in signal.valid_signals() if number not in _OWN}
    # Blocked, not handled: none is lost between here and `sigwait`.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals | {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        _take_terminal()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    status = 70  # a defect here
    try:
        status = _look_after(child, signals | {signal.SIGCHLD})
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)  # what comes after this call is the child's to do


def _take_terminal() -> None:
    """A process group of our own, in the foreground if we were: Ctrl-C comes to us once, and not to process 1, which would pass it on."""
    group = os.getpgrp()
    os.setpgid(0, 0)
    with suppress(OSError):  # there is no terminal
        if os.tcgetpgrp(0) == group:
            before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpgrp())
            signal.signal(signal.SIGTTOU, before)
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # as for process 1: after Ctrl-Z nobody could have us go on


def _look_after(child: int, signals: set[signal.Signals]) -> int:
    """Until the child has ended; the status to exit with, 128 and the number for one that was killed by a signal."""
    while True:
        number = signal.sigwait(signals)
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):
                os.kill(child, number)
        status = _reap(child)
        if status is not None:
            return status if status >= 0 else 128 - status


def _reap(child: int) -> int | None:
    """Wait for all that have ended; how the child has, when it is among them: its status, or minus the signal."""
    found = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                found = os.waitstatus_to_exitcode(status)
    return found
