"""What a process may lack that was started by something careless."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

CHECK = """
    import os, signal, socket, subprocess, sys
    from longrun.start import mend_start
    mend_start()
    for number in (0, 1, 2):
        os.fstat(number)
        assert os.get_inheritable(number)
    assert socket.socket().fileno() > 2
    for stream in (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__):
        stream.isatty()
    print("a line, with an umlaut: \\xfc", flush=True)
    print("another", file=sys.stderr, flush=True)
    sys.stdin.read()
    assert subprocess.run(["sh", "-c", "echo out; echo err >&2; exit 3"]).returncode == 3
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
    sys.exit(7)
"""


@pytest.mark.parametrize("closed", ["", "<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_every_descriptor_is_there(closed: str) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", textwrap.dedent(CHECK)]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode == 7


def test_ends_of_children_that_were_ignored_are_seen_and_blocked_signals_come() -> None:
    before = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, {15, 2, 1, 17})"
    exec_it = f"{before}; import os, sys; os.execv(sys.executable, [sys.executable, '-c', {textwrap.dedent(CHECK)!r}])"
    assert subprocess.run([sys.executable, "-c", exec_it], stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode == 7


def test_it_is_the_first_thing_that_the_command_does() -> None:
    """Nothing is loaded before that opens a file or starts a thread."""
    code = "import sys; before = set(sys.modules); import longrun.cli.main; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith("longrun")] == [
        "longrun",
        "longrun.cli",
        "longrun.cli.main",
        "longrun.first_process",
        "longrun.start",
    ]
    assert not {"socket", "threading", "logging", "httpx", "typer", "ssl"} & set(loaded)
