"""The end of a process of the service, which nothing that is left behind holds up."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from longrun.cli.http import FAILED, USAGE
from longrun.errors import LongrunError
from longrun.observe.output import finish

#: Seconds for threads that the models' file has left running, and for its `atexit` functions.
_LAST_MOMENT = 1.0
#: Set when the process is there for the command alone, and is not a program's or a test's that calls it.
_ours = threading.Event()


def own_process() -> None:
    """The process is there for the command that comes now: it ends with it."""
    _ours.set()


@contextmanager
def in_time() -> Iterator[None]:
    """When this is left, all has stopped in order: the process ends soon, by no signal, and with the status that was decided.

    Does nothing in a process that is not ours. Python waits for threads that are no daemons, and the models' file may have started one
    that never ends.
    """
    status = 0
    try:
        yield
    except BaseException as error:
        status = _status(error)
        raise
    finally:
        bound_end(status)


def bound_end(status: int) -> None:
    """From now on signals change nothing any more, and the process ends in a moment, if it has not by then, with this status."""
    if not _ours.is_set():
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(RuntimeError):  # no more threads: then Python's own end has to do
        threading.Thread(target=_end, args=(status,), name="end", daemon=True).start()


def _end(status: int) -> None:
    time.sleep(_LAST_MOMENT)
    try:
        from longrun.log import Log  # `serve` does not need it

        left = [each.name for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()]
        Log("longrun").warning("the process ends although threads of it still run, or something at its exit", threads=left)
        finish()
    finally:
        os._exit(status)


def _status(error: BaseException) -> int:
    """With which status `main` ends for it."""
    if isinstance(code := getattr(error, "exit_code", None), int):  # typer's; the module may be missing
        return code
    if isinstance(error, KeyboardInterrupt):
        return 130  # as typer ends for it
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0 if error.code is None else FAILED
    return USAGE if isinstance(error, LongrunError) else FAILED
