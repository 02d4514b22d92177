"""What processes that share a stream say there: each line in one write, so that none begins inside another."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

LOG = "import structlog; from longrun.observe.logs import configure_logging as c; c('info'); structlog.get_logger().info('hello')"
SAY = "from longrun.cli.show import say; say('hello')"


@pytest.mark.parametrize("code", [LOG, SAY], ids=["log", "say"])
def test_a_line_is_one_write_also_without_buffers(code: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # a message for each write
    with ours, theirs:
        subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        ours.setblocking(False)
        first = ours.recv(65536)
        assert b"hello" in first
        assert first.endswith(b"\n")
        with pytest.raises(BlockingIOError):
            ours.recv(65536)
