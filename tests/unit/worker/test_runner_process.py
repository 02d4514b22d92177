"""The parts that make a process as plain Python has it. What programs see: `integration/worker/test_plain_programs.py`."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from tests.conftest import settings_for
from tests.waiting import PATIENCE

from longrun.blobs.contract import Blobs
from longrun.errors import AuthoringError
from longrun.jobs.file_refs import FileRef
from longrun.models import Job, Model, isolated_registry, model
from longrun.models.file_types import File
from longrun.worker.engine import Engine
from longrun.worker.frames import pack
from longrun.worker.plan import WorkerPlan
from longrun.worker.runner.capture import Capture
from longrun.worker.runner.context import Context
from longrun.worker.runner.event_loop import turn
from longrun.worker.runner.hints import main_thread_hint
from longrun.worker.runner.host import Host
from longrun.worker.runner.main_thread import MainThread, Outbox
from longrun.worker.runner.pipe import Pipe
from longrun.worker.runner.run import Run
from longrun.worker.runner.settings import RunnerSettings
from longrun.worker.runner.threads import stack_size, start_thread
from longrun.worker.supervise.exits import Exit
from longrun.worker.supervise.process import RunnerProcess


@pytest.mark.parametrize(
    "text",
    [
        "ValueError: signal only works in main thread of the main interpreter",
        "ValueError: set_wakeup_fd only works in main thread of the main interpreter",
        "RuntimeError: There is no current event loop in thread 'shout-0'.",
        "RuntimeError: main thread is not in main loop",
        "UserWarning: Starting a Matplotlib GUI outside of the main thread will likely fail.",
        "NSInternalInconsistencyException: NSWindow should only be instantiated on the Main Thread!",
    ],
)
def test_an_error_about_the_main_thread_is_followed_by_the_option(text: str) -> None:
    assert "main_thread=True" in main_thread_hint(text)


@pytest.mark.parametrize("text", ["", "ValueError: no thread", "RuntimeError: the main loop has ended"])
def test_an_error_about_something_else_is_not(text: str) -> None:
    assert main_thread_hint(text) == ""


@pytest.mark.parametrize(
    ("limit", "least"), [(8 << 20, 8 << 20), (100 << 10, 1 << 20), (resource.RLIM_INFINITY, 64 << 20), (1 << 40, 1 << 30)]
)
def test_a_models_thread_has_the_stack_of_the_main_thread(monkeypatch: pytest.MonkeyPatch, limit: int, least: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert least <= stack_size() <= least + (2 << 20)
    assert stack_size() % 4096 == 0


def test_the_authors_own_threads_keep_their_stack_and_are_no_daemons() -> None:
    before, seen, ended = threading.stack_size(), list[bool](), threading.Event()

    def work() -> None:
        seen.append(threading.Thread(target=int).daemon)
        ended.set()

    start_thread(work, "model-0")
    assert ended.wait(PATIENCE)
    assert (seen, threading.stack_size()) == ([False], before)


class Ends(Exception):
    """The process would have ended here."""


class PlayedPipe:
    """Gives these frames and keeps those that are sent."""

    def __init__(self, *frames: list[Any]) -> None:
        self._frames, self.sent = frames, list[tuple[Any, ...]]()

    def frames(self) -> Iterator[list[Any]]:
        yield from self._frames

    def send(self, *members: Any) -> None:
        self.sent.append(members)


def test_a_frame_of_an_unknown_kind_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(status: int) -> None:
        raise Ends(status)

    monkeypatch.setattr(os, "_exit", end)
    pipe = PlayedPipe(["of a newer worker", 1, 2], ["ping", 7.0])
    host = Host(cast(Pipe, pipe), RunnerSettings(), Capture(), io.StringIO())
    with pytest.raises(Ends):
        host._read()
    assert pipe.sent == [("pong", 7.0, None)]


def serving(main: MainThread) -> None:
    threading.Thread(target=main.serve, daemon=True).start()


def test_what_is_asked_of_the_main_thread_runs_there_and_what_it_raises_ends_it_not() -> None:
    main, seen = MainThread(), list[Any]()
    serving(main)
    main.run(lambda: seen.append(threading.get_ident()))
    main.run(lambda: sys.exit(3))
    main.run(lambda: seen.append(threading.get_ident()))
    assert seen[0] == seen[1] != threading.get_ident()


def test_a_call_whose_wake_up_was_lost_runs_all_the_same_and_once() -> None:
    main, seen = MainThread(), list[int]()
    asks = threading.Thread(target=main.run, args=(lambda: seen.append(1),), daemon=True)
    asks.start()
    main._wake.get()  # a handler has raised just now
    serving(main)
    asks.join(PATIENCE)
    main.run(lambda: seen.append(2))
    assert seen == [1, 2]


def test_a_frame_has_left_when_the_outbox_returns() -> None:
    sent: list[Any] = []
    outbox = Outbox(lambda *members: sent.append((threading.current_thread().name, *members)))
    for number in range(3):
        outbox.send("done", number)
        assert sent[-1] == ("outbox", "done", number)


@pytest.mark.parametrize("exit_", [SystemExit, KeyboardInterrupt])
def test_no_callback_is_lost_when_exits_pass_through_the_loop(exit_: type[BaseException]) -> None:
    loop, seen, ended = asyncio.new_event_loop(), list[Any](), threading.Event()

    def leave() -> None:
        raise exit_(3)

    async def leaves() -> None:
        leave()

    async def waits(task: asyncio.Task[None]) -> None:
        with suppress(exit_):
            await task
        seen.append("awaited")

    async def yields() -> Any:
        try:
            yield 1
        finally:
            leave()

    async def drops() -> None:
        generator = yields()
        await anext(generator)
        del generator

    for number in range(5):
        loop.call_soon(seen.append, number)
        loop.call_soon(leave)
        loop.call_soon(loop.stop)
        loop.call_later(0.001 * number, leave)
        loop.create_task(waits(loop.create_task(leaves())))
        loop.create_task(drops())
    loop.call_later(0.2, ended.set)
    threading.Thread(target=turn, args=(loop,), daemon=True).start()
    assert ended.wait(PATIENCE)
    assert sorted(each for each in seen if each != "awaited") == [0, 1, 2, 3, 4]
    assert seen.count("awaited") == 5


def test_the_loop_ends_with_what_is_no_exit() -> None:
    loop = asyncio.new_event_loop()
    loop._selector.close()  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="closed"):
        turn(loop)
    loop._selector = __import__("selectors").DefaultSelector()  # type: ignore[attr-defined]
    loop.close()


def test_a_forked_child_sends_no_frame_also_while_another_thread_does() -> None:
    ours, theirs = socket.socketpair()
    pipe = Pipe(ours)
    with pipe._lock:
        pid = os.fork()
        if pid == 0:
            pipe.send("done", [])
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    pipe.send("pong", 1, None)
    assert theirs.recv(1 << 16) == pack("pong", 1, None)
    ours.close()
    theirs.close()


def test_a_file_of_a_job_says_what_to_send_instead() -> None:
    files = Run(("job_7", 1, b"{}", b"", False), Context(lambda *_: None)).files
    with pytest.raises(TypeError, match=r"send file\.read\(\)"):
        pickle.dumps(File.stored(FileRef("file_1", "k", 1, "", "text/plain", "a.txt", b"{}"), files))


def test_a_job_is_not_pickled_and_a_bare_one_is() -> None:
    handle = Run(("job_7", 1, b"{}", b"", False), Context(lambda *_: None)).handle("m")
    with pytest.raises(TypeError, match="the Job of job_7 cannot be sent to another process"):
        pickle.dumps(handle)
    assert pickle.loads(pickle.dumps(Job(id="job_8"))).id == "job_8"


# -- the option -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"main_thread": 1}, "main_thread is True or False"),
        ({"main_thread": True, "concurrency": 2}, "there is one main thread"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with isolated_registry(), pytest.raises(AuthoringError, match=message):

        @model(**options)
        def plain(number: int) -> int:
            return number


def test_an_async_model_cannot_have_the_main_thread() -> None:
    with isolated_registry(), pytest.raises(AuthoringError, match="main_thread is for sync code"):

        class Asynchronous(Model, main_thread=True):
            async def predict(self, number: int) -> int:
                return number


def groups_of(functions: list[Callable[..., Any]], **settings: Any) -> dict[tuple[str, ...], RunnerSettings]:
    specs = [function.__longrun__ for function in functions]  # type: ignore[attr-defined]
    ours = settings_for("redis://nowhere", "t:").model_copy(update=settings)
    plan = WorkerPlan("0", "w", "app.py", specs, ours, cast(Any, None), cast(Blobs, None))
    engine = Engine(plan, lambda: None)
    engine.loop.close()
    return {tuple(sorted(group.settings.models)): group.settings for group in engine.tables.groups}


def test_a_model_of_the_main_thread_has_a_runner_of_its_own_and_runs_one_job_at_a_time() -> None:
    with isolated_registry():

        @model
        def one(number: int) -> int:
            return number

        @model
        def two(number: int) -> int:
            return number

        @model(main_thread=True)
        def three(number: int) -> int:
            return number

        @model(main_thread=True)
        def four(number: int) -> int:
            return number

    groups = groups_of([one, two, three, four], concurrency=5, data=Path("/nowhere"))
    assert set(groups) == {("one", "two"), ("three",), ("four",)}
    assert [groups[names].main_thread for names in sorted(groups)] == [True, False, True]
    assert groups["one", "two"].models == {"one": 5, "two": 5}
    assert groups[("three",)].models == {"three": 1}


async def test_a_runner_that_ends_before_it_reads_its_settings_has_started_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: asyncio.Queue[Exit] = asyncio.Queue()
    process = RunnerProcess(lambda process, frame: None, lambda process, end: ends.put_nowait(end))

    def pack_when_it_has_ended(*members: Any) -> bytes:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return pack(*members)

    monkeypatch.setattr("longrun.worker.supervise.process.pack", pack_when_it_has_ended)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    await process.start(RunnerSettings(capture_output=False), {})
    assert (await asyncio.wait_for(ends.get(), PATIENCE)).status == 1
