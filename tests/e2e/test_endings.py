"""What the models' file leaves running when it is imported does not keep a process from ending, nor does it change the status."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.e2e.conftest import LONGRUN, Serve
from tests.waiting import wait_for

LEAVES_A_THREAD = """
import threading, time
from longrun import model

threading.Thread(target=time.sleep, args=(3600,), name="heartbeat").start()  # no daemon: Python waits for it

@model
def shout(text: str) -> str:
    return text.upper()
"""


@pytest.mark.slow
@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_thread_that_never_ends_does_not_keep_a_process(serve: Serve, tmp_path: Path, role: str) -> None:
    service, app, log = serve(), tmp_path / "leaves.py", tmp_path / "log"
    app.write_text(LEAVES_A_THREAD)
    options = ["--port", "0", "--ready-fd", "1", "--name", "is-up"] if role == "api" else ["--name", "second"]
    with log.open("wb") as written:
        command = [*LONGRUN, role, str(app), *options, "--data", str(service.data)]
        process = subprocess.Popen(command, stdout=written, stderr=written)
    try:
        wait_for(lambda: ("is-up" if role == "api" else "model ready") in log.read_text(), "it has started")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.7)  # it is about to end: a signal that comes now is not the cause of that
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert "heartbeat" in log.read_text()
    finally:
        process.kill()
        process.wait()


def test_nor_does_it_when_the_file_cannot_be_served(tmp_path: Path) -> None:
    app = tmp_path / "fails.py"
    app.write_text(f"{LEAVES_A_THREAD}\nraise ValueError('no weights')\n")
    ended = subprocess.run([*LONGRUN, "serve", str(app), "--port", "0", "--data", str(tmp_path / "data")], capture_output=True, timeout=60)
    assert ended.returncode == 2 and b"no weights" in ended.stderr
