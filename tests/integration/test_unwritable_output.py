"""Commands whose stdout or stderr takes nothing. `make chaos` has the rest (row F37)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.chaos.cluster import free_port
from tests.full_pipes import unread_pipe
from tests.waiting import PATIENCE, wait_for

LONGRUN = [sys.executable, "-m", "longrun"]
MODELS = """
import ctypes, os
from longrun import model
print("imported")
if "LONGRUN_REDIS_URL" in os.environ:  # libraries of C do so when they are imported
    ctypes.CDLL(None).write(2, b"x" * 100_000, 100_000)
@model
def raises(n: int) -> int:
    print("x" * 100_000)
    raise ValueError(n)
"""


@contextmanager
def nowhere(kind: str) -> Iterator[int]:
    if kind == "unread pipe":
        with unread_pipe() as (_, writes):
            yield writes
        return
    number = os.open("/dev/full", os.O_WRONLY)
    try:
        yield number
    finally:
        os.close(number)


@pytest.mark.parametrize("kind", [pytest.param("unread pipe", marks=pytest.mark.slow), "full disk"])
def test_a_service_whose_output_goes_nowhere_works_and_stops(kind: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(MODELS)
    url = f"http://127.0.0.1:{free_port()}"
    command = [*LONGRUN, "serve", "app.py", "--port", url.rpartition(":")[2]]

    def ready() -> bool:
        assert service.poll() is None
        try:
            return bool(httpx.get(f"{url}/readyz").json().get("workers"))
        except httpx.TransportError:
            return False

    with nowhere(kind) as number:
        service = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=number, stderr=number, start_new_session=True)
        try:
            wait_for(ready, "the service is ready")
            job = httpx.post(f"{url}/api/v1/models/raises/jobs", json={"input": {"n": 1}}, timeout=PATIENCE).json()
            wait_for(lambda: httpx.get(f"{url}/api/v1/jobs/{job['id']}").json()["status"] == "failed", "the job fails")
            if kind == "full disk":  # what a pipe does not take yet is not lost yet
                assert httpx.get(f"{url}/readyz").json()["checks"]["log"] == "1 lines could not be written"
                assert "longrun_log_lines_lost_total 1\n" in httpx.get(f"{url}/metrics").text
            service.send_signal(signal.SIGTERM)
            assert service.wait(PATIENCE) == 0
        finally:
            if service.poll() is None:
                os.killpg(service.pid, signal.SIGKILL)
                service.wait()


def doctor(folder: Path, **where: int) -> subprocess.CompletedProcess[bytes]:
    """A command that writes JSON to stdout."""
    (folder / "app.py").write_text(MODELS.replace('print("imported")', "pass"))
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **where}
    return subprocess.run([*LONGRUN, "doctor", "app.py", "--json"], cwd=folder, stdin=subprocess.DEVNULL, timeout=PATIENCE, **given)


def test_a_result_that_cannot_be_stored_is_an_error(tmp_path: Path) -> None:
    with nowhere("full disk") as number:
        done = doctor(tmp_path, stdout=number)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "error: stdout cannot be written: No space left on device"
    assert b"Traceback" not in done.stderr


def test_a_command_whose_reader_has_seen_enough_ends_without_a_word(tmp_path: Path) -> None:
    reads, number = os.pipe()
    os.close(reads)
    done = doctor(tmp_path, stdout=number)
    os.close(number)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == b""


@pytest.mark.parametrize("kind", ["unread pipe", pytest.param("full disk", marks=pytest.mark.slow)])
@pytest.mark.parametrize("words", [["jobs", "ls", "--url", "http://127.0.0.1:1"], ["no-such-command"]])
def test_what_cannot_be_said_on_stderr_changes_no_exit_status(kind: str, words: list[str], tmp_path: Path) -> None:
    with nowhere(kind) as number:
        done = subprocess.run([*LONGRUN, *words], cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=number, timeout=PATIENCE)
    assert done.returncode == (5 if words[0] == "jobs" else 2)
