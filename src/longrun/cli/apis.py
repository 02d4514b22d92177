"""The API processes of one address. Their listening sockets are bound once, before any of them starts, and outlive them all: what comes
while one of them is away waits there, and the others take it (decision 21).
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from longrun.cli.listen import listen_for, url_of
from longrun.cli.report import Reporter
from longrun.cli.show import say
from longrun.cli.supervisor import Child, Supervisor, stop_patience

if TYPE_CHECKING:
    from longrun.settings import Settings

#: Seconds that a first child gets to answer until the others start too. What is wrong with the models is said once that way.
HEAD_START = 30.0


class ApiProcesses:
    """What to start, and how many of them have come up.

    Args:
        count: of processes.
        app: what they serve.
        socks: their listening sockets; fewer than processes are shared.
        env: their whole environment.
    """

    def __init__(self, count: int, app: str, socks: Sequence[socket.socket], env: Mapping[str, str]) -> None:
        self._reads, writes = os.pipe()
        os.set_blocking(self._reads, False)
        self._heard = b""
        names = ["api"] if count == 1 else [f"api-{number}" for number in range(1, count + 1)]
        self._names = frozenset(names)
        now = time.monotonic()
        self.children = []
        for number, name in enumerate(names):
            own, *others = [str(sock.fileno()) for sock in (*socks[number % len(socks) :], *socks[: number % len(socks)])]
            options = ["--fd", own, "--beside", ",".join(others), "--ready-fd", str(writes), "--name", name]
            fds = (*(sock.fileno() for sock in socks), writes)
            due = now + (HEAD_START if number else 0)
            self.children.append(Child(name, command("api", app, *options), env, pass_fds=fds, due=due))

    def state(self) -> Literal["silent", "answering", "ready"]:
        """Whether none, some or all of them have come up at some time."""
        with suppress(BlockingIOError):
            self._heard += os.read(self._reads, 65536)
        up = self._names.intersection(self._heard.decode().split())
        return "ready" if up == self._names else "answering" if up else "silent"


@contextmanager
def listening(settings: Settings) -> Iterator[list[socket.socket]]:
    """The sockets of the API processes. Raises SettingsError: the address cannot be listened on."""
    socks = listen_for(settings.api_processes, settings.host, settings.port)
    try:
        yield socks
    finally:
        for sock in socks:
            sock.close()


def command(*words: str) -> list[str]:
    """A command of ours in a process of its own."""
    # -P: the folder we were started in is no place to look for libraries; `load_target` finds the models there.
    return [sys.executable, "-P", "-m", "longrun", *words]


def report_ready(fd: int, name: str) -> None:
    """Say that this process has come up, to the one that started it."""
    with suppress(BrokenPipeError):  # it has ended, and we are about to
        os.write(fd, f"{name}\n".encode())


def supervise_apis(settings: Settings, answers: float) -> int:
    """Run `api_processes` of them until a signal says stop; the exit status.

    Args:
        settings: with `app`, `host`, `port` and `data` as the command line has settled them.
        answers: seconds that each of them gives its open requests when it stops.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    with listening(settings) as socks:
        given = {
            "app": settings.app,
            "host": settings.host,
            "port": url_of(socks[0]).rpartition(":")[2],
            "data": str(settings.data.resolve()),
            "api_processes": str(settings.api_processes),
        }
        env = os.environ | {f"LONGRUN_{name.upper()}": value for name, value in given.items()}
        apis = ApiProcesses(settings.api_processes, settings.app, socks, env)
        reporter = Reporter(settings, settings.redis_url or None, say)
        patience = stop_patience(answers, settings.drain)
        return Supervisor(apis.children, None, apis.state, patience=patience, say=say, on_death=reporter.report).run()
