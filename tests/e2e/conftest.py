"""The real service: `longrun serve` as its own process tree, and the `longrun` command to talk to it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psutil
import pytest
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
HELLO = str(ROOT / "examples" / "hello.py")
#: Its functions, which share a runner: two processes less than all of it.
PLAIN = f"{HELLO}:brew,count,shout"
IMAGES = str(ROOT / "examples" / "images.py")
LONGRUN = [sys.executable, "-m", "longrun"]
_START = 90.0


class Service:
    """A running `longrun serve`."""

    def __init__(self, folder: Path, app: str, *options: str, **env: str) -> None:
        self.data = folder / "data"
        command = [*LONGRUN, "serve", app, "--port", "0", "--data", str(self.data), *options]
        # On a busy machine the store may have to wait for a core, too.
        env = os.environ | {"LONGRUN_STORE_TIMEOUT": "30"} | env
        self.process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.lines: list[str] = []
        self._seen: dict[int, psutil.Process] = {}
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            for line in pipe:
                self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        """All that was printed."""
        return "\n".join(self.lines)

    @property
    def url(self) -> str:
        """Where the API listens; waits for the greeting."""
        wait_for(lambda: "Longrun is ready at" in self.output or self.process.poll() is not None, "it has started", within=_START)
        found = re.search(r"ready at (http://\S+)", self.output)
        assert found, self.output
        self.processes()
        return found[1]

    def processes(self) -> list[psutil.Process]:
        """Every process of the tree that was ever seen."""
        if self.process.poll() is None:
            for process in psutil.Process(self.process.pid).children(recursive=True):
                self._seen[process.pid] = process
        return list(self._seen.values())

    def role(self, word: str) -> psutil.Process:
        """The living child whose command line holds this word: `api`, `worker`, `valkey`."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if any(word in Path(part).name for part in child.cmdline()))

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, float]:
        """Stop it as a user would; its exit status, and the seconds it took."""
        self.processes()
        started = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(timeout=120)
        took = time.monotonic() - started
        self._reader.join(timeout=10)
        return status, took

    def left(self) -> list[psutil.Process]:
        """Processes of the tree that still run."""
        return [process for process in self.processes() if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def close(self) -> None:
        """End everything, whatever state a failed test has left."""
        if self.process.poll() is None:
            self.stop()
        for process in self.left():
            process.kill()
        self._reader.join(timeout=10)


class Serve(Protocol):
    def __call__(self, app: str = PLAIN, *options: str, folder: Path | None = None, **env: str) -> Service: ...


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start services of this test's own."""
    started: list[Service] = []

    def start(app: str = PLAIN, *options: str, folder: Path | None = None, **env: str) -> Service:
        started.append(Service(folder or tmp_path, app, *options, **env))
        return started[-1]

    yield start
    for service in started:
        service.close()


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the models of `examples/hello.py`, shared by the tests of a module."""
    # Nothing is sent to the receivers that the documentation names.
    service = Service(tmp_path_factory.mktemp("hello"), HELLO, LONGRUN_WEBHOOK_SCHEDULE="86400")
    try:
        assert service.url
        yield service
    finally:
        service.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the models of `examples/images.py`, shared by the tests of a module."""
    service = Service(tmp_path_factory.mktemp("images"), IMAGES)
    try:
        assert service.url
        yield service
    finally:
        service.close()


def longrun(*words: str, url: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    at = {"LONGRUN_URL": url} if url else {}
    return subprocess.run([*LONGRUN, *words], env=os.environ | at | env, capture_output=True, text=True, timeout=120)
