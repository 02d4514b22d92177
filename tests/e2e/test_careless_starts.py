"""`longrun serve` as a script, a cron job, `nohup` or a container's runtime may start it: it works all the same, or says why not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from tests.e2e.conftest import LONGRUN, PLAIN
from tests.require import require_namespaces
from tests.waiting import wait_for

WAYS = {
    "everything closed": 'exec "$@" <&- >&- 2>&-',
    "no stdin": 'exec "$@" <&-',
    "no stdout": 'exec "$@" >&-',
    "no stderr": 'exec "$@" 2>&-',
    "stdin from a pipe that has ended": 'mkfifo ended; true >ended & exec "$@" <ended',
    "children ignored": 'trap "" CHLD; exec "$@"',
    "nohup": 'exec nohup "$@"',
    "no home": 'unset HOME; exec "$@"',
    "a home that is not there": 'HOME=/nonexistent exec "$@"',
    "a temporary folder that is not there": 'TMPDIR=/nonexistent exec "$@"',
    "a temporary folder that takes no files": 'TMPDIR=/proc exec "$@"',
    "a working folder that was removed": 'mkdir gone; cd gone; rmdir ../gone; exec "$@"',
}
GONE = "error: the folder that this was started in has been removed: start it from another one\n"


class Started:
    """A service that was started so, in a session of its own."""

    def __init__(self, folder: Path, command: list[str], *, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        with (folder / "said").open("wb") as said:
            self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
        self._folder = folder

    def ready(self) -> None:
        wait_for(lambda: self._workers() > 0 or self.process.poll() is not None, "it has started", within=120)
        assert self.process.poll() is None, (self._folder / "said").read_text()

    def _workers(self) -> int:
        try:
            return int(httpx.get(f"{self.url}/readyz").json().get("workers", 0))
        except httpx.TransportError:
            return 0

    def run(self, model: str, **input: object) -> object:
        headers = {"Prefer": "wait=60"}
        return httpx.post(f"{self.url}/api/v1/models/{model}/jobs", json={"input": input}, headers=headers, timeout=90).json()["output"]

    def tree(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]


def serve(port: int, folder: Path, app: str = PLAIN) -> list[str]:
    return [*LONGRUN, "serve", app, "--port", str(port), "--data", str(folder / "data")]


@pytest.fixture
def port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_it_serves_and_stops(way: str, tmp_path: Path, port: int) -> None:
    service = Started(tmp_path, ["sh", "-c", WAYS[way], "sh", *serve(port, tmp_path)], port=port)
    try:
        service.ready()
        assert service.run("shout", text="a") == "A!"
        tree = service.tree()
        if way == "nohup":
            os.killpg(service.process.pid, signal.SIGHUP)
            time.sleep(1)
            assert service.run("shout", text="b") == "B!"
        os.killpg(service.process.pid, signal.SIGTERM)
        assert service.process.wait(60) == 0
        wait_for(lambda: not [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE], "nothing is left")
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


@pytest.mark.parametrize("command", [["serve", PLAIN], ["api", PLAIN], ["worker", PLAIN], ["doctor"]])
def test_without_a_folder_for_its_data_it_says_so_in_one_line(command: list[str], tmp_path: Path) -> None:
    shell = ["sh", "-c", WAYS["a working folder that was removed"], "sh", *LONGRUN, *command]
    env = {name: value for name, value in os.environ.items() if name != "LONGRUN_DATA"}
    ended = subprocess.run(shell, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (2, GONE)


@pytest.mark.parametrize(
    "way",
    [
        "everything closed",
        *(pytest.param(way, marks=pytest.mark.slow) for way in ("no stdin", "no stdout", "no stderr", "children ignored")),
    ],
)
def test_commands_of_callers_end_with_the_usual_status(way: str, tmp_path: Path) -> None:
    for words, status in ((["--version"], 0), (["jobs", "ls", "--url", "http://127.0.0.1:9"], 5), (["run"], 2)):
        ended = subprocess.run(["sh", "-c", WAYS[way], "sh", *LONGRUN, *words], cwd=tmp_path, capture_output=True, timeout=60)
        assert ended.returncode == status


MODELS = """
import subprocess
from longrun import model

@model
def leaves() -> str:
    subprocess.run(["sh", "-c", "sleep 0.1 & exit 0"])
    return "done"
"""


@pytest.mark.slow
def test_as_the_first_process_of_a_container_it_leaves_no_zombies_and_stops_in_order(tmp_path: Path, port: int) -> None:
    (tmp_path / "app.py").write_text(MODELS)
    service = Started(tmp_path, [*require_namespaces(), *serve(port, tmp_path, "app.py")], port=port)
    try:
        service.ready()
        for _ in range(10):
            assert service.run("leaves") == "done"
        first = psutil.Process(service.process.pid).children()[0]
        wait_for(lambda: len(first.children()) == 1, "those that have lost their parents have ended, and are buried")
        first.terminate()
        assert service.process.wait(60) == 0
        assert "User requested shutdown" in (tmp_path / "data" / "valkey.log").read_text() or sys.platform != "linux"
    finally:
        service.process.kill()
        service.process.wait()
