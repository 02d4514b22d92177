"""Valkey, an API and workers as processes of their own on one temporary folder."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from tests.chaos.history import Run
from tests.chaos.program import Program, until

from longrun.embedded import EmbeddedValkey

APP = Path(__file__).with_name("models_for_chaos.py")
LEASE = 2.0  # seconds
START_WITHIN = 40.0  # seconds
#: A short lease, so that tests need not wait; and no limit of crashes that a test could reach, so that every job must succeed.
SETTINGS = {"LONGRUN_LEASE": f"{LEASE:g}", "LONGRUN_HEARTBEAT": "0.5", "LONGRUN_GRACE": "1", "LONGRUN_MAX_CRASHES": "100"}


class Cluster:
    """A context manager that starts Valkey and the API (no worker), and stops everything by process id at the end.

    Args:
        folder: an empty folder.
        serve: start `longrun serve` instead, which brings Valkey, API and worker.
    """

    def __init__(self, folder: Path, *, serve: bool = False) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.programs: list[Program] = []
        self._serves = serve
        self._valkey = EmbeddedValkey(folder / "valkey")
        self._runs = folder / "runs.log"
        self._redis_url = ""

    def __enter__(self) -> Self:
        try:
            if self._serves:
                self.serve()
            else:
                self._redis_url = self._valkey.start()
                self.start_api()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop everything that was started, and print the end of what it said (pytest shows that when the test failed)."""
        for program in reversed(self.programs):
            program.stop()
        self._valkey.stop()
        print(self.logs())

    def serve(self) -> Program:
        """Start `longrun serve` and wait until it answers."""
        return self._ready(self._start("serve", [str(APP), "--port", str(self.port), "--data", str(self.folder / "data")]))

    def start_api(self) -> Program:
        """Start an API process and wait until it answers."""
        self.api = self._ready(self._start("api", [str(APP), "--port", str(self.port)]))
        return self.api

    def start_worker(self) -> Program:
        """Start another worker; it takes jobs as soon as it is up."""
        return self._start("worker", [str(APP)])

    def kill_valkey(self) -> None:
        """SIGKILL to the server."""
        assert self._valkey.pid is not None
        os.kill(self._valkey.pid, signal.SIGKILL)

    def restart_valkey(self) -> None:
        """Start the server again on the files of the one that died."""
        assert self._valkey.start() == self._redis_url

    def port_is_free(self) -> bool:
        """Whether nobody listens on the API's port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) != 0

    def check(self) -> None:
        """An AssertionError when a program has ended by itself."""
        for program in self.programs:
            program.check()

    def runs(self) -> list[Run]:
        """Every run of a model so far, as noted by the models themselves."""
        lines = self._runs.read_text().splitlines() if self._runs.exists() else []
        notes = [line.split() for line in lines]
        return [Run(job_id, int(attempt), int(pid)) for what, job_id, attempt, pid in notes if what == "begin"]

    def logs(self) -> str:
        """The end of every program's output."""
        return "\n".join(f"---- {program.name} (pid {program.pid})\n{program.tail()}" for program in self.programs)

    def _start(self, verb: str, options: list[str]) -> Program:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LONGRUN_")}
        redis = {"LONGRUN_REDIS_URL": self._redis_url} if self._redis_url else {}
        name = f"{verb}-{len(self.programs)}"
        command = [sys.executable, "-m", "longrun", verb, *options]
        program = Program(name, command, folder=self.folder, env=clean | SETTINGS | redis | {"CHAOS_LOG": str(self._runs)})
        self.programs.append(program)
        return program

    def _ready(self, program: Program) -> Program:
        def answers() -> bool:
            program.check()
            try:
                return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        until(answers, f"{program.name} answers /readyz", timeout=START_WITHIN)
        return program


def free_port() -> int:
    """A TCP port of loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
