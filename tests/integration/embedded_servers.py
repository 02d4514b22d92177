"""Embedded servers in other processes, and what they say."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from longrun.embedded import EmbeddedValkey
from longrun.embedded.address import ask, socket_of


def say(server: EmbeddedValkey, *words: str) -> str:
    return ask(socket_of(server.data), *words)


def say_setting(server: EmbeddedValkey, name: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(socket_of(server.data)))
        connection.sendall(f"CONFIG GET {name}\r\n".encode())
        return connection.recv(4096).decode().split("\r\n")[4]


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


@contextlib.contextmanager
def serving_process(data: Path, spawn: str = "server.start()") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A second Python process that serves `data`, and the pid of its Valkey."""
    script = f"""
        import sys, time
        from pathlib import Path
        from longrun.embedded import EmbeddedValkey
        server = EmbeddedValkey(Path({str(data)!r}))
        {spawn}
        print(server.pid, flush=True)
        time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    try:
        yield process, pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if not gone_within(pid, 2):
            os.kill(pid, signal.SIGKILL)
