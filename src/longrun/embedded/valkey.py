"""Starting, adopting and stopping the server process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from longrun.embedded.address import ask, choose_socket, is_private, ping, replace_text, server_pid, socket_of, url_of
from longrun.embedded.folder import hold, is_free, prepare, recorded_pid, tail
from longrun.embedded.program import check_writer, find_server, identify
from longrun.errors import SettingsError

Durability = Literal["relaxed", "strict"]

_START_TIMEOUT = 15.0  # seconds without any sign of life; a server that says LOADING may take as long as it needs
_SETTLE = 0.5  # seconds; a server that was asked to stop notices within 0.1 s (its `hz` is 10) and may answer until then

# A `preexec_fn` could do the same, but runs Python between fork and exec, which may deadlock when the parent has threads.
_LINUX_LAUNCHER = """\
import ctypes, os, signal, sys
number = int(sys.argv[2])
signal.signal(number, signal.SIG_DFL)
ctypes.CDLL(None).prctl(1, number)
if os.getppid() != int(sys.argv[1]): sys.exit("the process that started this one has ended")
os.execv(sys.argv[3], sys.argv[3:])
"""


class EmbeddedValkey:
    """One Valkey server on one data folder; a context manager that starts and stops it.

    Args:
        data: folder for data, socket and log; made (0700) when missing.
        durability: `strict` syncs to disk before every answer; `relaxed` every second: a power cut may lose the last two seconds, and so
            may a kill of the server itself while a slow disk keeps it from writing, but no other crash loses anything.
        server: path of the server program; None = `find_server()`.
    """

    def __init__(self, data: Path, *, durability: Durability = "relaxed", server: Path | None = None) -> None:
        self.data = data.resolve()
        self.pid: int | None = None
        self._fsync = "always" if durability == "strict" else "everysec"
        self._server = server
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> str:
        """Start the server, or adopt the one that a dead process left behind, and wait until it answers.

        Called again, it brings a server back that has died, and otherwise changes nothing.

        Returns:
            URL of the server, `unix:///…/valkey.sock`.

        Raises:
            SettingsError: another process serves this folder, no server program fits, or the server does not start.
        """
        prepare(self.data)
        had_lock = self._lock is not None
        self._lock = self._lock or hold(self.data)
        try:
            path = choose_socket(self.data)
            if not self._adopt(path, settle=not had_lock):
                self._spawn(path)
        except BaseException:
            self.stop()
            raise
        return url_of(path)

    def stop(self, timeout: float = 4.0) -> None:
        """Ask the server to stop, kill it after `timeout` seconds, and free the folder. Harmless when nothing runs."""
        try:
            if not self._signal(signal.SIGTERM, timeout):
                self._signal(signal.SIGKILL, timeout)
        finally:
            self.pid = self._process = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def _adopt(self, path: Path, *, settle: bool) -> bool:
        """Whether a living server of this folder answers, and is ours from now on. Waits while it comes up or goes down."""
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            answer = ping(path)
            if answer == "ready" and (pid := _take_over(path, self._fsync, _SETTLE if settle else 0)):
                self.pid = pid
                return True
            if answer == "absent" and is_free(self.data / "server.lock"):
                return False
            if answer == "loading":
                deadline = time.monotonic() + _START_TIMEOUT
            time.sleep(0.05)
        raise SettingsError(
            f"an earlier server of {self.data} neither obeys nor ends: stop it ({recorded_pid(self.data)}), or choose another --data"
        )

    def _spawn(self, path: Path) -> None:
        server = self._server or find_server()
        program = identify(server)
        if program is None:
            raise SettingsError(f"{server} is not a Valkey or Redis server that runs on this machine")
        check_writer(self.data, program)
        log = self.data / "valkey.log"
        log_start = log.stat().st_size if log.exists() else 0
        process = self._process = _launch([str(server), *_options(self.data, path, self._fsync)], self.data)
        self.pid = process.pid
        deadline = time.monotonic() + _START_TIMEOUT
        while (answer := ping(path)) != "ready":
            if process.poll() is not None or time.monotonic() > deadline:
                problem = "does not answer" if process.poll() is None else f"ended with status {process.poll()}"
                raise SettingsError(f"{program} ({server}) {problem}; the end of {log}:\n{tail(log, log_start)}")
            if answer == "loading":
                deadline = time.monotonic() + _START_TIMEOUT
            time.sleep(0.01)
        replace_text(self.data / "written-by", f"{program}\n")

    def _signal(self, number: signal.Signals, timeout: float) -> bool:
        """Whether the server is gone at the latest `timeout` seconds after it got the signal."""
        if self.pid is None or not self.alive():
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        deadline = time.monotonic() + timeout
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.alive()

    def alive(self) -> bool:
        """Whether the server runs."""
        # An adopted server is not a child that we could wait for, but the lock it holds ends with it.
        return self._process.poll() is None if self._process else not is_free(self.data / "server.lock")


def locate(data: Path) -> str | None:
    """URL of the embedded server that runs in `data`, or None. Waits while that server is still loading its data. Changes nothing."""
    path = socket_of(data.resolve())
    if path.parent != data.resolve() and not is_private(path.parent):
        return None
    while (answer := ping(path)) == "loading":
        time.sleep(0.1)
    return url_of(path) if answer == "ready" else None


def _options(data: Path, path: Path, fsync: str) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": fsync,
        "save": "",  # the append-only file is the data; snapshots beside it would only cost
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": str(data / "valkey.log"),
        "pidfile": str(data / "valkey.pid"),
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def tied(command: list[str], number: signal.Signals) -> list[str]:
    """`command`, such that Linux sends it `number` when the thread that started it ends, wherever that thread dies; elsewhere as it is."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", "-c", _LINUX_LAUNCHER, str(os.getpid()), str(int(number)), *command]


def _launch(command: list[str], data: Path) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, so that Ctrl-C does not reach it, holding `server.lock`.

    The thread that starts it is one that lives exactly as long as the server, see `tied`.
    """
    command = tied(command, signal.SIGTERM)
    started: Future[subprocess.Popen[bytes]] = Future()

    def keep() -> None:
        try:
            with (data / "server.lock").open("a") as lock, (data / "valkey.log").open("ab") as log:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[lock.fileno()]
                )
        except OSError as error:
            started.set_exception(SettingsError(f"{command[0]} cannot be started in {data}: {error.strerror}"))
        else:
            started.set_result(process)
            process.wait()

    threading.Thread(target=keep, name="embedded-valkey", daemon=True).start()
    return started.result()


def _take_over(path: Path, fsync: str, settle: float) -> int | None:
    """Pid of the server on `path`, set to our durability; None when it stops answering within `settle` seconds, or does not obey."""
    deadline = time.monotonic() + settle
    while time.monotonic() < deadline:
        time.sleep(0.05)
        if ping(path) != "ready":
            return None
    try:
        pid = server_pid(path)
        return pid if pid and ask(path, "CONFIG", "SET", "appendfsync", fsync) == "+OK" else None
    except OSError:
        return None  # it ended just now: the caller looks again
