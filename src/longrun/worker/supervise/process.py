"""The worker's end of a runner: start, frames in and out, end."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from msgspec.structs import replace

from longrun.jobs.fence import Fence
from longrun.observe.output import given
from longrun.settings import runner_environment
from longrun.worker.code_times import CodeTimes, new_memory
from longrun.worker.frames import FrameBuffer, joined, pack
from longrun.worker.runner.copies import remove_left
from longrun.worker.runner.settings import RunnerSettings
from longrun.worker.supervise.exits import MAXRSS_UNIT, Exit, oom_kills, peak_memory
from longrun.worker.supervise.guard import Guard, end_group
from longrun.worker.supervise.output_pipes import OutputPipes

_BUFFER = 1 << 20
#: Seconds for a process that has closed its pipe to end by itself; one that lives on is of no use.
_LAST_MOMENT = 1.0
#: The count of out-of-memory kills that an end is compared with is at least this many seconds old: a sign of life may be read late.
_BEFORE = 2.0
#: A runner that was there so many seconds ago has ended when its pipe closed. It is looked at more often than that.
_SEEN_AT_ONCE = 0.6


class RunnerProcess(asyncio.Protocol):
    """One spawned runner.

    Args:
        on_frame: called with each frame that arrives.
        on_end: called once, when the process has ended.
        guard: ends what the process has started when the worker is killed.
    """

    def __init__(
        self,
        on_frame: Callable[[RunnerProcess, list[Any]], None],
        on_end: Callable[[RunnerProcess, Exit], None],
        guard: Guard | None = None,
    ) -> None:
        self._on_frame, self._on_end, self._guard = on_frame, on_end, guard
        self._buffer = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Exit | None = None
        self._killed = False
        self._outputs: OutputPipes | None = None
        self._times: CodeTimes | None = None
        self._alive_at = self._ended_at = time.monotonic()
        self._seen_peak: int | None = None
        self._ours_at_start = 0
        self._kills_before = self._kills_lately = oom_kills()
        self._looked = time.monotonic()

    async def start(self, settings: RunnerSettings, env: Mapping[str, str]) -> None:
        """Spawn the process. To be called on a thread that lives as long as the worker: PR_SET_PDEATHSIG follows the spawning thread."""
        outputs = OutputPipes() if settings.capture_output else None
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        times = new_memory()
        self._times = CodeTimes(times)
        settings = replace(settings, parent=os.getpid(), pipes=outputs.plan if outputs is not None else None, times=times)
        command = [sys.executable, "-P", "-m", "longrun.worker.runner", str(theirs.fileno())]
        # On Linux a process inherits the peak of the one that started it, through fork and exec.
        self._ours_at_start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if sys.platform == "linux" else 0
        try:
            # In a session of its own: what the model starts belongs to it, and ends with it.
            self._process = subprocess.Popen(  # noqa: ASYNC220
                command,
                pass_fds=[theirs.fileno(), times, *(end for ends in (outputs.plan.values() if outputs else ()) for end in ends)],
                env={**runner_environment(os.environ), **env},
                stdin=subprocess.DEVNULL,
                stdout=outputs.ends[0] if outputs else given(1),
                stderr=outputs.ends[1] if outputs else given(2),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            if outputs is not None:
                outputs.close()
            raise
        finally:
            theirs.close()
            os.close(times)
            if outputs is not None:
                outputs.started()
        self._outputs = outputs
        if self._guard is not None:
            self._guard.add(self._process.pid)
        with suppress(OSError):  # it has ended already, which is seen when the pipe is read
            ours.sendall(pack("settings", settings.to_json()))
        await self.attach(ours)

    async def attach(self, sock: socket.socket) -> None:
        """Exchange frames over this end of the pipe."""
        self._sock = sock
        await asyncio.get_running_loop().create_connection(lambda: self, sock=sock)

    @property
    def pid(self) -> int:
        """Process id, 0 before the start."""
        return self._process.pid if self._process else 0

    def send(self, *members: Any) -> None:
        """Send a frame; nothing happens when the process is gone (its end is reported by `on_end`)."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(*members))

    async def has_room(self) -> None:
        """Wait until it has read most of what was sent to it, or has ended."""
        await self._room.wait()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        # One that was not waited for keeps its number, so this hits nobody else.
        if self._process is not None and not self._reaped():
            self._killed = True
            os.kill(self._process.pid, signal.SIGKILL)
            end_group(self._process.pid)

    def check_end(self) -> None:
        """To be called now and then: a child that the model's code has forked holds the pipe open when the process has ended."""
        if self._transport is not None and self._exited():
            self._read_the_rest()
            self._transport.abort()

    def _exited(self) -> bool:
        """Whether the process has ended and waits to be reaped; its number, and that of its group, are not given to others until then."""
        if self._process is None or not hasattr(os, "waitid"):
            return False
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True

    def sample(self) -> None:
        """Note what only a living process shows; to be called now and then while it works."""
        self._seen_peak = peak_memory(self.pid) or self._seen_peak
        if time.monotonic() - self._looked >= _BEFORE:
            self._looked = time.monotonic()
            self._kills_before, self._kills_lately = self._kills_lately, oom_kills()

    def code_time(self, job_id: str, fence: Fence, now: float) -> tuple[float, float] | None:
        """When the code of a run was first entered, and seconds in it until `now`; None: it was not. Also when the process has ended."""
        return self._times.read(job_id, fence, now) if self._times is not None else None

    def drain_output(self) -> None:
        """To be called several times a second: read of its output what it cannot read itself."""
        if not self._exited():
            self._alive_at = time.monotonic()
        if self._outputs is not None:
            self._outputs.drain_stuck()

    def _close_outputs(self) -> None:
        outputs, self._outputs = self._outputs, None
        if outputs is not None:
            outputs.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for frame in joined(self._buffer.feed(data)):
            self._on_frame(self, frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._room.set()
        # Seen late, because the worker stood still or a child held the pipe, all that is known is that it was there at the last look.
        now = time.monotonic()
        self._ended_at = now if now - self._alive_at < _SEEN_AT_ONCE else self._alive_at
        if exc is not None:
            self._read_the_rest()
        if self._process is not None:
            asyncio.get_running_loop().create_task(self._reap())

    def _read_the_rest(self) -> None:
        """A write that failed ends the connection before the runner's last words are read: outcomes that must not be lost."""
        assert self._sock is not None
        try:
            while data := self._sock.recv(_BUFFER, socket.MSG_DONTWAIT):
                self.data_received(data)
        except OSError:
            return

    async def _reap(self) -> None:
        # The pipe closes a moment before the process can be waited for.
        closed = time.monotonic()
        while not self._reaped():
            if not self._killed and time.monotonic() - closed > _LAST_MOMENT:
                self.kill()
            await asyncio.sleep(0.005 if time.monotonic() - closed < _LAST_MOMENT else 0.05)
        assert self._end is not None
        self._close_outputs()
        asyncio.get_running_loop().run_in_executor(None, remove_left)
        self._on_end(self, self._end)

    def _reaped(self) -> bool:
        """Whether the process has ended; then `_end` says how. By `wait4`, which says what it used; Popen's own way would lose that."""
        if self._end is None and self._process is not None:
            if self._exited():
                end_group(self._process.pid)
            try:
                pid, status, used = os.wait4(self._process.pid, os.WNOHANG)
            except ChildProcessError:
                # Somebody else in this process waited for it: how it ended is lost.
                self._process.returncode = 0
                self._end = Exit(0, self._seen_peak, at=self._ended_at)
                return True
            if pid:
                if self._guard is not None:
                    self._guard.discard(pid)
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._end = Exit(self._process.returncode, self._peak(used.ru_maxrss), self._killed, self._oom_struck(), self._ended_at)
        return self._end is not None

    def _peak(self, maxrss: int) -> int | None:
        return maxrss * MAXRSS_UNIT if maxrss > self._ours_at_start else self._seen_peak

    def _oom_struck(self) -> bool | None:
        now = oom_kills()
        return None if now is None or self._kills_before is None else now > self._kills_before

    def wait(self, timeout: float) -> bool:
        """Kill if needed and wait for the end, in the worker's last moments, when no loop turns. False: alive after `timeout` seconds."""
        self.kill()
        end = time.monotonic() + timeout
        while self._process is not None and not self._reaped():
            if time.monotonic() >= end:
                return False
            time.sleep(0.002)
        remove_left()
        self._close_outputs()
        return True
