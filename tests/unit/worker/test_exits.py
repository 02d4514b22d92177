"""How a runner ended, in words; and that the worker reads all of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from longrun.wire import JobProblem
from longrun.worker.frames import pack
from longrun.worker.supervise import exits
from longrun.worker.supervise.exits import Exit, lost_failure, oom_kills, peak_memory
from longrun.worker.supervise.process import RunnerProcess


@pytest.mark.parametrize(
    ("status", "name", "code", "words"),
    [
        (-11, "SIGSEGV", None, "SIGSEGV"),
        (-9, "SIGKILL", None, "SIGKILL"),
        (-77, "signal 77", None, "signal 77"),
        (3, None, 3, "exit code 3"),
        (0, None, 0, "exit code 0"),
    ],
)
def test_an_end_is_a_signal_or_an_exit_code(status: int, name: str | None, code: int | None, words: str) -> None:
    end = Exit(status)
    assert (end.signal, end.exit_code, end.words) == (name, code, words)


@pytest.mark.parametrize(
    ("end", "part"),
    [
        (Exit(-9, oom=True), "memory ran out"),
        (Exit(-9, oom=False), "was not the kernel's out-of-memory killer"),
        (Exit(-9, oom=None), "may have been the kernel's out-of-memory killer"),
        (Exit(-9, oom=False, ours=True), "closed its pipe"),
        (Exit(-9, oom=True, ours=True), "memory ran out"),
    ],
)
def test_a_sigkill_is_explained_as_far_as_it_can_be_known(end: Exit, part: str) -> None:
    assert part in (end.hint or "")


def test_other_ends_speak_for_themselves() -> None:
    assert Exit(-11, oom=True).hint is None
    assert Exit(1, oom=True).hint is None


def test_the_failure_of_a_dead_runner_holds_what_is_known_and_no_more() -> None:
    problem = to_builtins(JobProblem.of(lost_failure(2, Exit(-9, 5 << 30, oom=True), "crash", 0).to_json(), "/x"))
    assert (problem["code"], problem["attempt"], problem["signal"], problem["peak_memory"]) == ("worker-lost", 2, "SIGKILL", 5 << 30)
    assert "exit_code" not in problem
    problem = to_builtins(JobProblem.of(lost_failure(1, Exit(0), "crash", 0).to_json(), "/x"))
    assert problem["exit_code"] == 0
    assert {"signal", "peak_memory", "hint"}.isdisjoint(problem)


def test_who_was_aboard_is_told() -> None:
    end = Exit(-11)
    assert "with 12 more in it; which of them did it is not known" in lost_failure(1, end, "suspect", 12).detail
    assert "before it began with the job" in lost_failure(1, end, "unstarted", 1).detail
    ended = lost_failure(1, Exit(-9, ours=True), "release", 1)
    assert ("to stop another job" in ended.detail, ended.signal, ended.hint) == (True, None, None)


def test_the_count_of_memory_kills_is_found_in_either_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, control = tmp_path / "memory.events", tmp_path / "memory.oom_control"
    events.write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    control.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    for place, count in ((events, 2), (control, 7), (tmp_path / "gone", None)):
        monkeypatch.setattr(exits, "_oom_counter", lambda place=place: place)
        assert oom_kills() == count
    monkeypatch.setattr(exits, "_oom_counter", lambda: None)
    assert oom_kills() is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_a_living_process_is_its_own() -> None:
    assert 1 << 20 < (peak_memory(os.getpid()) or 0) < 1 << 40
    assert peak_memory(2**22 + 1) is None


class Child(RunnerProcess):
    """The worker's end, of a process that a test starts itself."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        super().__init__(lambda _, frame: self.frames.append(frame), lambda _, end: self.ended.set_result(end))

    async def run(self, code: str) -> None:
        ours, theirs = socket.socketpair()
        self._process = subprocess.Popen([sys.executable, "-c", code, str(theirs.fileno())], pass_fds=[theirs.fileno()])  # noqa: ASYNC220
        theirs.close()
        await self.attach(ours)


async def test_the_end_of_a_process_is_read_with_its_peak_memory() -> None:
    child = Child()
    await child.run("import os, signal; held = bytearray(400 << 20); os.kill(os.getpid(), signal.SIGSEGV)")
    end = await asyncio.wait_for(child.ended, 60)
    assert end.status == -signal.SIGSEGV
    assert 400 << 20 < (end.peak_memory or 0) < 2 << 30
    assert child.wait(1)


async def test_a_process_that_closes_its_pipe_and_lives_on_is_killed() -> None:
    child = Child()
    await child.run("import os, sys, time; os.close(int(sys.argv[1])); time.sleep(600)")
    end = await asyncio.wait_for(child.ended, 60)
    assert (end.signal, end.ours) == ("SIGKILL", True)


async def test_what_a_runner_said_last_is_heard_when_a_write_to_it_fails() -> None:
    """The loop may write to a dead runner before it reads its last frames: those hold outcomes."""
    child = Child()
    said = pack("done", [["job", "1/n", "ok", b"1", 0.1, b""]])
    await child.run(f"import os, sys, signal; os.write(int(sys.argv[1]), {said!r}); os.kill(os.getpid(), signal.SIGKILL)")
    time.sleep(1)  # noqa: ASYNC251 - the loop must not read meanwhile
    for _ in range(3):
        child.send("ping", 0)
    await asyncio.wait_for(child.ended, 60)
    assert [frame[0] for frame in child.frames] == ["done"]


async def test_an_end_that_is_seen_late_is_dated_by_the_last_look_at_the_living_process() -> None:
    at_once, late = Child(), Child()
    await at_once.run("import time; time.sleep(0.3)")
    while not at_once.ended.done():
        looked = time.monotonic()
        at_once.drain_output()
        await asyncio.sleep(0.05)
    assert looked - 0.6 < at_once.ended.result().at <= time.monotonic()
    await late.run("import time; time.sleep(0.5)")
    before = time.monotonic()
    late.drain_output()
    looked = time.monotonic()
    time.sleep(2)  # noqa: ASYNC251 - the worker stands still
    late.drain_output()
    end = await asyncio.wait_for(late.ended, 60)
    assert before <= end.at <= looked
