"""Process 1 of a container, in real PID namespaces: it buries the dead, and passes signals on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tests.require import require_namespaces
from tests.waiting import wait_for

BEGIN = """
    import os, signal, subprocess, sys, time
    from longrun.first_process import stay_behind_as_first
    stay_behind_as_first()
    assert os.getpid() != 1 and os.getppid() == 1
"""


def first(code: str) -> list[str]:
    """A command that runs `code` as what process 1 has forked."""
    return [*require_namespaces(), sys.executable, "-c", textwrap.dedent(BEGIN) + textwrap.dedent(code)]


@contextmanager
def start(code: str) -> Iterator[subprocess.Popen[str]]:
    """One that prints a line when it is ready."""
    with killed(subprocess.Popen(first(code), stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process


@contextmanager
def killed(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """It does not outlive a test that has failed."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def process_1(unshare: subprocess.Popen[str]) -> psutil.Process:
    (found,) = psutil.Process(unshare.pid).children()
    return found


@pytest.mark.parametrize(
    ("code", "status"),
    [("sys.exit(7)", 7), ("", 0), ("os.kill(os.getpid(), signal.SIGTERM)", 143), ("os.kill(os.getpid(), signal.SIGKILL)", 137)],
)
def test_its_status_is_that_of_the_child(code: str, status: int) -> None:
    assert subprocess.run(first(code), timeout=60).returncode == status


def test_who_has_lost_its_parent_is_buried() -> None:
    code = """
        for _ in range(20):
            subprocess.run(["sh", "-c", "sleep 0.1 & exit 0"])
        end = time.monotonic() + 60
        def others():
            states = {}
            for each in filter(str.isdigit, os.listdir("/proc")):
                try:
                    states[int(each)] = open(f"/proc/{each}/stat").read().rpartition(")")[2].split()[0]
                except OSError:
                    pass
            return {pid: state for pid, state in states.items() if pid not in (1, os.getpid())}
        while others() and time.monotonic() < end:
            time.sleep(0.05)
        print(others())
    """
    assert subprocess.run(first(code), timeout=90, capture_output=True, text=True).stdout == "{}\n"


def test_every_signal_is_passed_on_and_each_once() -> None:
    numbers = [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTERM]
    with start(f"""
        seen = []
        for number in {[int(number) for number in numbers]}:
            signal.signal(number, lambda number, frame: seen.append(number))
        print("ready", flush=True)
        while signal.SIGTERM not in seen:
            time.sleep(0.01)
        print(*seen, flush=True)
    """) as process:
        for number in numbers:
            process_1(process).send_signal(number)
            time.sleep(0.1)
        assert process.communicate(timeout=60)[0].split() == [str(int(number)) for number in numbers]
        assert process.returncode == 0


def test_a_signal_that_nobody_handles_yet_ends_it() -> None:
    with start("print('ready', flush=True); time.sleep(600)") as process:
        process_1(process).send_signal(signal.SIGTERM)
        assert process.wait(60) == 143


def test_when_it_is_killed_nothing_is_left() -> None:
    with start("_ = subprocess.Popen(['sleep', '600'], start_new_session=True); print('ready', flush=True); time.sleep(600)") as process:
        all_of_them = process_1(process).children(recursive=True)
        assert len(all_of_them) == 2
        process_1(process).kill()
        process.wait(60)
    wait_for(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in all_of_them), "all have ended")


def test_ctrl_c_at_its_terminal_comes_once_and_ctrl_z_does_not_stop_it(tmp_path: Path) -> None:
    log = tmp_path / "seen"
    code = first(f"""
        seen = []
        signal.signal(signal.SIGINT, lambda *_: seen.append(1))
        print("ready", flush=True)
        end = time.monotonic() + 60
        while not seen and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.5)
        open({str(log)!r}, "w").write(str(len(seen)))
    """)
    terminal, theirs = os.openpty()
    try:
        with killed(subprocess.Popen(["setsid", "--ctty", *code], stdin=theirs, stdout=theirs, stderr=theirs, text=True)) as process:
            said = b""
            while b"ready" not in said:
                said += os.read(terminal, 1024)
            os.write(terminal, b"\x1a")
            time.sleep(0.2)
            os.write(terminal, b"\x03")
            assert process.wait(60) == 0
        assert log.read_text() == "1"
    finally:
        os.close(terminal)
        os.close(theirs)
