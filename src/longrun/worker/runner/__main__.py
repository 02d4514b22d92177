"""`python -P -m longrun.worker.runner <fd>`: started by the worker, never by hand.

With `-P`, for the working folder is no place to look for libraries, and all imports before the models'.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from importlib.util import find_spec

from longrun.worker.runner.children import take_signals

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """On Linux the kernel kills this process when the worker's spawning thread ends; elsewhere it ends when the pipe closes."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    """Read the settings, load the models, run jobs until the pipe closes."""
    take_signals()
    die_with_parent()
    # Imported late: the signals above must be set before anything heavy runs.
    from longrun.settings import use_given
    from longrun.worker.runner.pipe import Pipe
    from longrun.worker.runner.settings import RunnerSettings

    pipe = Pipe(socket.socket(fileno=int(sys.argv[1])))
    first = next(pipe.frames(), None)
    settings = RunnerSettings.from_json(first[1]) if first is not None else RunnerSettings()
    if os.getppid() != settings.parent:  # the worker is gone
        os._exit(1)
    use_given(settings.service)
    from longrun.observe.logs import configure_runner_logging
    from longrun.worker.runner.own_log import log
    from longrun.worker.runner.streams import capture_output

    capture, operator = capture_output(settings.pipes)
    log.use(configure_runner_logging(settings.log_level, operator))

    from multiprocessing import set_forkserver_preload

    from longrun.worker.runner.host import Host

    # As for `python app.py`: the model, and processes that it spawns, see no words of ours.
    sys.argv = [settings.target.partition(":")[0]]
    # What stands for the script of plain Python in processes that the model spawns (see there).
    sys.modules["__main__"].__spec__ = find_spec("longrun.worker.runner.spawned")
    set_forkserver_preload(["longrun.worker.runner.unhidden", "__main__"])
    Host(pipe, settings, capture, operator).run()


if __name__ == "__main__":
    main()
