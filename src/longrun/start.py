"""What a process may lack that was started by something careless, put right before anything else is done.

Imports nothing that opens a file or starts a thread: a closed descriptor would be given to the first of them, and what was meant for the
terminal would be written into a socket.
"""

from __future__ import annotations

import io
import os
import signal
import sys

#: How each of the descriptors 0 to 2 is opened, and what Python calls it.
_STANDARD = ((os.O_RDONLY, "stdin"), (os.O_WRONLY, "stdout"), (os.O_WRONLY, "stderr"))
#: Signals that must arrive, whatever the one that started us had blocked.
_NEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def mend_start() -> None:
    """Have descriptors, streams and signals as Python expects them. Does nothing where all is as usual."""
    _open_descriptors()
    # The one that started us may have ignored the ends of its children: then nobody could wait for ours.
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NEEDED)


def _open_descriptors() -> None:
    for number, (flags, name) in enumerate(_STANDARD):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)  # the lowest that is free, which is this one
            os.set_inheritable(opened, True)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            stream = io.open(number, mode, encoding="utf-8", errors="backslashreplace" if number else None, closefd=False)  # noqa: SIM115,UP020
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def ignores_hangups() -> bool:
    """Whether the end of its terminal is no reason for this process to stop: it was started by `nohup`."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def is_folder_gone() -> bool:
    """Whether the working folder has been removed."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return True
    return False
