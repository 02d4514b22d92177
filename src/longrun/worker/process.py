"""The worker's end of a runner: start, frames in and out, end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

import orjson

from longrun.worker.devices import Place
from longrun.worker.frames import FrameBuffer, pack

_BUFFER = 1 << 20


class RunnerProcess(asyncio.Protocol):
    """One spawned runner.

    Args:
        on_frame: called with each frame that arrives.
        on_end: called once, when the process has ended, with its exit status (negative = signal).
    """

    def __init__(self, on_frame: Callable[[RunnerProcess, list[Any]], None], on_end: Callable[[RunnerProcess, int], None]) -> None:
        self._on_frame, self._on_end = on_frame, on_end
        self._buffer = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, target: str, models: dict[str, int], place: Place, log_level: str) -> None:
        """Spawn the process. To be called on a thread that lives as long as the worker: PR_SET_PDEATHSIG follows the spawning thread."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        plan = {"target": target, "models": models, "device": place.device, "log_level": log_level, "parent": os.getpid()}
        command = [sys.executable, "-m", "longrun.worker.runner", str(theirs.fileno()), orjson.dumps(plan).decode()]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=os.environ | place.env, stdin=subprocess.DEVNULL)  # noqa: ASYNC220
        theirs.close()
        await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)

    @property
    def pid(self) -> int:
        """Process id, 0 before the start."""
        return self._process.pid if self._process else 0

    def send(self, *members: Any) -> None:
        """Send a frame; nothing happens when the process is gone (its end is reported by `on_end`)."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(*members))

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for frame in self._buffer.feed(data):
            self._on_frame(self, frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        asyncio.get_running_loop().create_task(self._reap())

    async def _reap(self) -> None:
        assert self._process is not None
        # The pipe closes a moment before the process can be waited for; one that closed it and lives on is of no use.
        for _ in range(200):
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.005)
        else:
            self.kill()
        self._on_end(self, self._process.wait())

    def wait(self, timeout: float) -> None:
        """Kill if needed and wait for the end; for the worker's last moments, when no loop turns."""
        if self._process is not None:
            self.kill()
            self._process.wait(timeout)
