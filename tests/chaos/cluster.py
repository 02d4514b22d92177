"""Valkey, an API and workers as processes of their own on one temporary folder."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from redis import Redis
from tests.chaos.history import Run
from tests.chaos.program import Program, until
from tests.chaos.proxy import Proxy

from longrun.embedded import EmbeddedValkey
from longrun.embedded.valkey import Durability
from longrun.queues.celery.tickets import ticket_template
from longrun.store.scripts import load_scripts

APP = Path(__file__).with_name("models_for_chaos.py")
FAILPOINTS = Path(__file__).with_name("failpoints")
PREFIX = "longrun:"
LEASE = 2.0  # seconds
START_WITHIN = 90.0  # seconds
#: A short lease, so that tests need not wait; and no limit of crashes that a test could reach, so that every job must succeed.
SETTINGS = {"LONGRUN_LEASE": f"{LEASE:g}", "LONGRUN_HEARTBEAT": "0.5", "LONGRUN_GRACE": "1", "LONGRUN_MAX_CRASHES": "100"}


class Cluster:
    """A context manager that starts Valkey and the API (no worker), and stops everything by process id at the end.

    Args:
        folder: an empty folder.
        serve: start `longrun serve` instead, which brings Valkey, API and worker.
        proxied: whose way to Valkey leads through a fault proxy of its own (`cluster.proxies[...]`): `api`, `worker`.
        durability: of Valkey, see `EmbeddedValkey`.
        app: the file with the models.
        settings: LONGRUN_… variables beside or instead of `SETTINGS`.
        output: descriptor to which the output of all programs goes; None: a file for each.
    """

    def __init__(
        self,
        folder: Path,
        *,
        serve: bool = False,
        proxied: tuple[str, ...] = (),
        durability: Durability = "relaxed",
        app: Path = APP,
        settings: Mapping[str, str] | None = None,
        output: int | None = None,
    ) -> None:
        self.folder, self.app = folder, app
        self.settings = {**SETTINGS, **(settings or {})}
        self.proxies: dict[str, Proxy] = {}
        self._proxied, self._stack, self._output = proxied, ExitStack(), output
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.programs: list[Program] = []
        self._serves = serve
        self._valkey = EmbeddedValkey(folder / "valkey", durability=durability)
        self._runs = folder / "runs.log"
        self._redis_url = ""

    def __enter__(self) -> Self:
        try:
            if self._serves:
                self.serve()
            else:
                self._redis_url = self._valkey.start()
                self.redis = self._stack.enter_context(Redis.from_url(self._redis_url))
                socket_path = Path(self._redis_url.removeprefix("unix://"))
                self.proxies = {verb: self._stack.enter_context(Proxy(socket_path)) for verb in self._proxied}
                self.start_api()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything that was started, and print the end of what it said (pytest shows that when the test failed)."""
        for program in reversed(self.programs):
            # Asking takes a second or two each; `serve` is asked, because it has a server of its own to stop.
            if self._serves:
                program.stop()
            else:
                program.kill_tree()
        self._stack.close()
        self._valkey.stop()
        print(self.logs())

    def serve(self) -> Program:
        """Start `longrun serve` and wait until it answers."""
        return self._ready(self._start("serve", [str(self.app), "--port", str(self.port), "--data", str(self.folder / "data")]))

    @property
    def redis_url(self) -> str:
        """Where Valkey is, past every proxy."""
        return self._redis_url

    def start_api(self, **env: str) -> Program:
        """Start an API process and wait until it answers. `env`: further variables, such as CHAOS_FAILPOINT."""
        self.api = self._ready(self._start("api", [str(self.app), "--port", str(self.port)], env))
        return self.api

    def start_replica(self) -> int:
        """Start another API process on the same store, and wait until it answers; its port."""
        return self.start_second_api()[1]

    def start_second_api(self, **env: str) -> tuple[Program, int]:
        """As `start_replica`; the process and its port. `env`: further variables."""
        port = free_port()
        return self._ready(self._start("api", [str(self.app), "--port", str(port)], env), f"http://127.0.0.1:{port}"), port

    def try_to_start(self, verb: str, **env: str) -> tuple[int, str]:
        """Start an API or a worker that is to end at once; its exit status and what it said."""
        program = self._start(verb, [str(self.app), *(("--port", "0") if verb == "api" else ())], env)
        return program.ended(), program.tail()

    def start_worker(self, *options: str, **env: str) -> Program:
        """Start another worker; it takes jobs as soon as it is up. `env`: further variables, such as CHAOS_FAILPOINT."""
        return self._start("worker", [str(self.app), *options], env)

    @property
    def valkey_pid(self) -> int:
        """Process id of the server."""
        assert self._valkey.pid is not None
        return self._valkey.pid

    def signal_valkey(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        os.kill(self.valkey_pid, number)

    def kill_valkey(self) -> None:
        """SIGKILL to the server."""
        self.signal_valkey(signal.SIGKILL)

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

    def workers_ready(self, number: int = 1) -> None:
        """Wait until so many workers say that all their models are loaded."""

        def ready() -> bool:
            self.check()
            workers = httpx.get(f"{self.url}/api/v1/workers", timeout=5).json()["workers"]
            loaded = [worker for worker in workers if all(model["state"] == "ready" for model in worker["models"].values())]
            return len(loaded) >= number

        until(ready, f"{number} workers are ready", timeout=START_WITHIN)

    def runs(self) -> list[Run]:
        """Every run of a model so far, as noted by the models themselves."""
        lines = self._runs.read_text().splitlines() if self._runs.exists() else []
        notes = [line.split() for line in lines]
        return [Run(job_id, int(attempt), int(pid)) for what, job_id, attempt, pid in notes if what == "begin"]

    def logs(self) -> str:
        """The end of every program's output."""
        return "\n".join(f"---- {program.name} (pid {program.pid})\n{program.tail()}" for program in self.programs)

    def sha(self, script: str) -> bytes:
        """How a script is named on the wire: what a proxy looks for."""
        return load_scripts(PREFIX, ticket_template())[script].sha.encode()

    def _start(self, verb: str, options: list[str], more: Mapping[str, str] | None = None) -> Program:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LONGRUN_")}
        url = self.proxies[verb].url if verb in self.proxies else self._redis_url
        redis = {"LONGRUN_REDIS_URL": url} if url else {}
        env = clean | self.settings | redis | {"CHAOS_LOG": str(self._runs)} | dict(more or {})
        if any(name in env for name in ("CHAOS_FAILPOINT", "CHAOS_CLOCK")):
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FAILPOINTS), env.get("PYTHONPATH", "")]))
        name = f"{verb}-{len(self.programs)}"
        command = [sys.executable, "-m", "longrun", verb, *options]
        program = Program(name, command, folder=self.folder, env=env, may_end="CHAOS_FAILPOINT" in env, output=self._output)
        self.programs.append(program)
        return program

    def _ready(self, program: Program, url: str | None = None) -> Program:
        def answers() -> bool:
            program.check()
            try:
                return httpx.get(f"{url or self.url}/readyz", timeout=5).status_code == 200
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
