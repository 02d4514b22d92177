"""The processes that a model makes. They begin with the signals of plain Python, and one that it forks never goes on with our work."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from longrun.errors import LongrunError
from longrun.observe.output import finish

#: What each signal does in a process that plain Python makes.
_PLAIN: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
_masks = threading.local()
_forked = False
#: The frames of a traceback that are not the author's are of files in this folder.
_OURS = Path(__file__).parent


def take_signals() -> None:
    """Have SIGINT and SIGTERM do nothing to this process: they reach whole groups, and when a runner ends is the worker's decision.

    Handlers do that, which `exec` takes away, and a forked child below. Ignored or blocked signals would be inherited: a child could not
    be terminated.
    """
    for number in _PLAIN:
        signal.signal(number, _stay)
    # Blocked while the handler is still there, a signal that is sent to the child at once is not lost: it comes when the handler is gone.
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_default_signals)


def _stay(*_: Any) -> None:
    """Not what the signal asks for."""


def _block() -> None:
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _PLAIN)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _note_fork() -> None:
    global _forked  # noqa: PLW0603 - it is a fact about the process
    _forked = True


os.register_at_fork(after_in_child=_note_fork)


def _default_signals() -> None:
    ours = [number for number in _PLAIN if signal.getsignal(number) is _stay]  # otherwise the author has set it
    for number in ours:
        signal.signal(number, signal.SIG_DFL)
    # What has come meanwhile ends the child here: a KeyboardInterrupt that is raised in here would be lost.
    _unblock()
    for number in ours:
        signal.signal(number, _PLAIN[number])


def forked() -> bool:
    """Whether this is a child that the model has forked. It has no threads of ours, and no connection to the worker."""
    return _forked


def check_not_forked() -> None:
    """To be called where the author's code speaks for the job, or asks about it. Raises LongrunError in a forked child."""
    if _forked:
        raise LongrunError(
            "this process was forked by the job and has no connection to its worker: job.progress, log, usage, check and yield work only in"
            " the process that runs the job. Return what there is to report to that process (a queue, a pipe, the result of a future)"
        )


def end_if_forked(error: BaseException | None = None) -> None:
    """To be called where the author's code has returned, or raised `error`: in a forked child nothing of ours follows."""
    if _forked:
        end_forked(error)


def end_forked(error: BaseException | None = None) -> NoReturn:
    """End a forked child as plain Python ends, with the same status; `error`: it ends with this exception.

    What was registered with `atexit` is not called: it was registered for the process that runs the job.
    """
    status = 1
    try:
        status = _status(error)
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons, as multiprocessing does
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        finish()
    finally:
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(status)


def _status(error: BaseException | None) -> int:
    """The status, once what is to be said was written to stderr."""
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        trace = error.__traceback__
        while trace is not None and Path(trace.tb_frame.f_code.co_filename).parent == _OURS:
            trace = trace.tb_next
        sys.excepthook(type(error), error, trace)
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return 1
