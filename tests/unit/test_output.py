"""Writes to an output that takes nothing, little, or everything."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.full_pipes import read_all, unread_pipe
from tests.waiting import wait_for

from longrun.observe import output
from longrun.observe.output import Output, operator_stream, text_stream

#: Ways to a descriptor: our own, or, where it cannot be opened anew, the shared one, to which only the thread may write.
WAYS = ["opened anew", "shared"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "shared":

        def refused(*_: object) -> int:
            raise PermissionError

        monkeypatch.setattr(output.os, "open", refused)
    return str(request.param)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_lines_of_every_size_arrive_whole_and_in_order(way: str, pipe: tuple[int, int]) -> None:
    lines = [f"{n} {'x' * size}\n".encode() for n, size in enumerate([1, 100, 4090, 9000, 300_000, 5, 70_000, 1])]
    out, found = Output(pipe[1], patience=60), b""
    writer = threading.Thread(target=lambda: [out.write(line) for line in lines])
    writer.start()
    while len(found) < sum(map(len, lines)):
        found += os.read(pipe[0], 5000)
    writer.join()
    assert found == b"".join(lines)
    assert out.lost == 0
    assert os.get_blocking(pipe[1])  # it is shared with others


def test_a_line_is_there_when_the_write_returns(pipe: tuple[int, int]) -> None:
    Output(pipe[1]).write(b"last words\n")
    assert read_all(pipe[0]) == b"last words\n"


def test_a_pipe_that_nobody_reads_makes_nobody_wait_and_later_says_how_many_lines_were_lost(way: str) -> None:
    with unread_pipe() as (reads, writes):
        out = Output(writes, patience=0.01)
        line = b"y" * 99_999 + b"\n"
        for _ in range(100):
            out.write(line)
        lost = out.lost
        assert 80 <= lost < 100
        found = b""
        while not found.endswith(f"{lost} lines of the log were lost\n".encode()):
            found += os.read(reads, 1 << 16)
        assert found.count(b"y" * 99_999 + b"\n") == 100 - lost
        out.write(b"and on\n")
        assert os.read(reads, 100) == b"and on\n"


def test_a_write_waits_once_for_a_reader_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with unread_pipe() as (_, writes):
        out = Output(writes, patience=0.01)
        waits = []
        wait_for = out._changed.wait_for
        monkeypatch.setattr(out._changed, "wait_for", lambda *given: waits.append(given) or wait_for(*given))
        out.write(b"z" * (2 << 20))
        for _ in range(50):
            out.write(b"more\n")
        assert len([given for given in waits if len(given) == 2]) == 1
        assert out.lost == 50


def test_a_full_disk_loses_lines_and_says_so_when_there_is_room(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from longrun.observe.output import Output
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
log = open({str(tmp_path / "log")!r}, "wb")
out = Output(log.fileno())
for text in (b"first\\n", b"second\\n", b"third\\n"):
    out.write(text)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
out.write(b"fourth\\n")
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    assert (tmp_path / "log").read_text() == "first\nseco\n2 lines of the log were lost\nfourth\n"


@pytest.mark.parametrize("place", ["/dev/full", "nobody", "closed", "a socket that nobody reads"])
def test_nothing_is_raised_and_lines_are_counted(place: str) -> None:
    ends = socket.socketpair()
    if place == "nobody":
        reads, number = os.pipe()
        os.close(reads)
    elif place == "a socket that nobody reads":
        number = ends[0].fileno()
    else:
        number = os.open("/dev/full", os.O_WRONLY)
    if place == "closed":
        os.close(number)
    out = Output(number, patience=0)
    stream = operator_stream(out)
    for _ in range(30):
        print("x" * 100_000, "\ud800", file=stream, flush=True)
    wait_for(lambda: out.lost >= 10, "lines are lost")
    stream.flush()
    out.finish(time.monotonic())
    if place not in ("closed", "a socket that nobody reads"):
        os.close(number)
    for end in ends:
        end.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_waits_for_no_lock_and_repeats_nothing() -> None:
    with unread_pipe() as (reads, writes):
        out = Output(writes, patience=0)
        out.write(b"of the parent\n")
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with out._lock:
                held.set()
                release.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        child = os.fork()
        if not child:
            out.write(b"of the child\n")
            out.finish(time.monotonic() + 60)
            os._exit(0)
        release.set()
        holder.join()
        found = b""
        while not (b"of the child\n" in found and b"of the parent\n" in found):
            found += os.read(reads, 1 << 16)
        assert os.waitpid(child, 0)[1] == 0
        assert found.lstrip(b"x") in (b"of the parent\nof the child\n", b"of the child\nof the parent\n")


PROGRAM = """
import atexit, logging, sys, threading, traceback, warnings
from longrun.observe.output import lost_lines, take_over
take_over("stdout", "stderr")
from longrun.observe.logs import configure_logging
configure_logging("info", process="p")
class Bad:
    def __repr__(self): raise RecursionError
    __str__ = __repr__
print("print", "\\ud800")
print("x" * 100_000_000)
logging.warning("%s", Bad())
logging.error("logged")
warnings.warn("warned")
threading.Thread(target=lambda: 1 / 0).start()
class Unraisable:
    def __del__(self): 1 / 0
Unraisable()
traceback.print_stack()
sys.stdout.buffer.write(b"bytes")
import asyncio
async def main(): asyncio.get_running_loop().call_soon(lambda: 1 / 0); await asyncio.sleep(0)
asyncio.run(main())
sys.exit(7 if {least} <= lost_lines() else 8)
"""


@pytest.mark.parametrize("place", ["/dev/full", "unread"])
def test_a_process_whose_output_goes_nowhere_ends_as_it_wanted(place: str) -> None:
    with unread_pipe() as (_, writes):
        number = writes if place == "unread" else os.open(place, os.O_WRONLY)
        command = [sys.executable, "-c", PROGRAM.format(least=1)]
        assert subprocess.run(command, stdout=number, stderr=number, stdin=subprocess.DEVNULL, timeout=120).returncode == 7


def test_a_process_whose_output_is_read_writes_all_of_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        done = subprocess.run([sys.executable, "-c", PROGRAM.format(least=0)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    said = (tmp_path / "log").read_text()
    assert done.returncode == 7
    assert said.startswith("print \\ud800\n" + "x" * 100_000_000 + "\n")
    assert said.endswith("bytes")
    for part in ('"event": "logged"', "UserWarning: warned", "Exception in thread", "Exception ignored", "Exception in callback"):
        assert part in said


def test_print_makes_one_write_of_a_line(pipe: tuple[int, int]) -> None:
    stream = text_stream(output._Lines(Output(pipe[1]), pipe[1], "stdout"))
    print("a", "b", file=stream, end="")
    assert read_all(pipe[0]) == b""
    print("c", file=stream)
    assert read_all(pipe[0]) == b"a bc\n"
    print("no end", file=stream, end="", flush=True)
    assert read_all(pipe[0]) == b"no end"
