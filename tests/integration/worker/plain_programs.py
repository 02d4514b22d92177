"""Programs that behave in plain Python, to be run as jobs of every kind: each returns `fine`, or says what was wrong."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import copy
import cProfile
import decimal
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import structlog

from longrun import Job, LongrunError

Program = Callable[[Job], Any]
PROGRAMS: dict[str, Program] = {}
tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
#: For a child to be ready, or to end, on a busy machine.
LONG = 30.0


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function


# -- children and signals -------------------------------------------------------------------------------------------------------


def sleep_long() -> None:
    time.sleep(300)


def ends_by(child: subprocess.Popen[Any], number: int) -> str:
    child.send_signal(number)
    status = child.wait(LONG)
    return "fine" if status == -number else f"status {status}"


@program
def popen_terminate(job: Job) -> Any:
    return ends_by(subprocess.Popen(["sleep", "300"]), signal.SIGTERM)


@program
def popen_interrupt(job: Job) -> Any:
    return ends_by(subprocess.Popen(["sleep", "300"]), signal.SIGINT)


@program
def popen_with_a_new_session_and_a_function_before(job: Job) -> Any:
    return ends_by(subprocess.Popen(["sleep", "300"], preexec_fn=lambda: None, start_new_session=True), signal.SIGTERM)  # noqa: PLW1509 - one of the ways


@program
def a_trap_of_the_shell(job: Job) -> Any:
    script = "trap 'echo trapped; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        shell.terminate()
        said = shell.stdout.read()
    return "fine" if (said, shell.returncode) == ("trapped\n", 3) else f"{said} {shell.returncode}"


@program
def python_child_gets_keyboard_interrupt(job: Job) -> Any:
    code = "import time\ntry:\n print('ready', flush=True); time.sleep(300)\nexcept KeyboardInterrupt:\n print('interrupted')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        said = child.stdout.read()
    return "fine" if said == "interrupted\n" else said


@program
def a_child_begins_with_the_signals_of_plain_python(job: Job) -> Any:
    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    found = {
        name: int(value, 16)
        for name, _, value in (line.partition(":") for line in status.splitlines())
        if name.startswith("Sig") and "/" not in value
    }
    bits = 1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1 | 1 << signal.SIGPIPE - 1 | 1 << signal.SIGCHLD - 1
    wrong = {name: found[name] & bits for name in ("SigBlk", "SigIgn", "SigCgt") if found[name] & bits}
    return "fine" if not wrong else str(wrong)


@program
def a_child_inherits_no_descriptor_of_ours(job: Job) -> Any:
    said = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, check=True, close_fds=False).stdout
    # The fourth is that of the folder.
    return "fine" if said.split() == ["0", "1", "2", "3"] else said


@program
def a_pipe_of_the_shell_ends(job: Job) -> Any:
    said = subprocess.run("yes | head -n 1", shell=True, capture_output=True, text=True, timeout=LONG, check=True).stdout
    return "fine" if said == "y\n" else said


@program
def a_run_with_a_time_limit(job: Job) -> Any:
    try:
        subprocess.run(["sleep", "300"], timeout=0.2, check=False)
    except subprocess.TimeoutExpired:
        return "fine"
    return "no limit"


@program
def spawned_by_posix(job: Job) -> Any:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "300"], os.environ)
    os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    return "fine" if os.waitstatus_to_exitcode(status) == -signal.SIGTERM else str(status)


@program
def forked_and_terminated_at_once(job: Job) -> Any:
    for number in (signal.SIGTERM, signal.SIGINT) * 5:
        pid = os.fork()
        if pid == 0:
            try:
                time.sleep(LONG)
            except KeyboardInterrupt:
                os._exit(77)
            os._exit(1)
        os.kill(pid, number)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        # SIGINT comes as an exception, or before there is a `try`: then it is a traceback.
        if code != -signal.SIGTERM and not (number == signal.SIGINT and code in (77, -signal.SIGINT, 1)):
            return f"{number} {code}"
    return "fine"


def processes_end(method: str) -> Any:
    for _ in range(3):
        process = multiprocessing.get_context(method).Process(target=sleep_long)  # type: ignore[attr-defined]
        process.start()
        process.terminate()
        process.join(LONG)
        if process.exitcode != -signal.SIGTERM:
            code = process.exitcode
            process.kill()
            return f"{method}: {code}"
    return "fine"


@program
def process_terminate_fork(job: Job) -> Any:
    return processes_end("fork")


@program
def process_terminate_spawn(job: Job) -> Any:
    return processes_end("spawn")


@program
def process_terminate_forkserver(job: Job) -> Any:
    return processes_end("forkserver")


def pool_after_a_time_out(method: str) -> Any:
    with multiprocessing.get_context(method).Pool(2) as pool:
        if pool.apply(abs, (-3,)) != 3:
            return "wrong"
        try:
            pool.apply_async(time.sleep, (300,)).get(0.1)
        except multiprocessing.TimeoutError:
            return "fine"
    return "no limit"


@program
def pool_fork(job: Job) -> Any:
    return pool_after_a_time_out("fork")


@program
def pool_spawn(job: Job) -> Any:
    return pool_after_a_time_out("spawn")


@program
def pool_forkserver(job: Job) -> Any:
    return pool_after_a_time_out("forkserver")


@program
def executor_of_processes(job: Job) -> Any:
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        return "fine" if list(pool.map(abs, [-1, -2, 3])) == [1, 2, 3] else "wrong"


def start_a_thread(path: str) -> None:
    threading.Thread(target=lambda: (time.sleep(0.2), Path(path).write_text("said"))).start()


@program
def a_thread_of_a_child_is_waited_for(job: Job) -> Any:
    path = Path(f"/tmp/{job.id}-{os.getpid()}-{threading.get_ident()}")
    process = multiprocessing.get_context("fork").Process(target=start_a_thread, args=(str(path),))
    process.start()
    process.join(LONG)
    said = path.exists()
    path.unlink(missing_ok=True)
    return "fine" if said and not threading.current_thread().daemon else "the thread was cut off"


# -- children that go on ----------------------------------------------------------------------------------------------------------


class InChild(Exception):
    """Ends the program in the child, in the way that it names."""


def child_of(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


@program
def child_returns(job: Job) -> Any:
    pid = os.fork()
    if pid == 0:
        return "from the child"
    code = child_of(pid)
    return "fine" if code == 0 else f"status {code}"


@program
def child_raises(job: Job) -> Any:
    pid = os.fork()
    if pid == 0:
        raise ValueError("in the child")
    code = child_of(pid)
    return "fine" if code == 1 else f"status {code}"


@program
def child_exits(job: Job) -> Any:
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    code = child_of(pid)
    return "fine" if code == 7 else f"status {code}"


@program
def child_exits_with_a_text(job: Job) -> Any:
    pid = os.fork()
    if pid == 0:
        sys.exit("a reason")
    code = child_of(pid)
    return "fine" if code == 1 else f"status {code}"


@program
def child_is_interrupted(job: Job) -> Any:
    pid = os.fork()
    if pid == 0:
        raise KeyboardInterrupt
    code = child_of(pid)
    return "fine" if code == -signal.SIGINT else f"status {code}"


@program
def child_with_threads_that_log(job: Job) -> Any:
    """No lock of ours or of `logging` is held for ever in a child."""
    ends = threading.Event()

    def talk() -> None:
        while not ends.is_set():
            logging.getLogger("talk").warning("a line")
            structlog.get_logger("talk").warning("a line")
            print("a line", file=sys.stderr)

    threads = [threading.Thread(target=talk) for _ in range(2)]
    for each in threads:
        each.start()
    try:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                logging.getLogger("talk").warning("in the child")
                structlog.get_logger("talk").warning("in the child")
                print("in the child", flush=True)
                os._exit(0)
            code = child_of(pid)
            if code:
                return f"status {code}"
    finally:
        ends.set()
        for each in threads:
            each.join()
    return "fine"


def reports(job: Job, how: str) -> str:
    try:
        {
            "progress": lambda: job.progress(0.5),
            "log": lambda: job.log("from the child"),
            "usage": lambda: job.usage(tokens=3),
            "check": job.check,
            "canceled": lambda: job.canceled,
        }[how]()
    except LongrunError as error:
        return "fine" if "forked" in str(error) else str(error)
    return f"{how} vanished"


@program
def child_that_reports(job: Job) -> Any:
    for how in ("progress", "log", "usage", "check", "canceled"):
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(theirs, reports(job, how).encode())
            os._exit(0)
        os.close(theirs)
        said = os.read(ours, 1000).decode()
        os.close(ours)
        os.waitpid(pid, 0)
        if said != "fine":
            return said
    job.progress(0.5)
    return "fine"


@program
def process_that_reports(job: Job) -> Any:
    process = multiprocessing.get_context("fork").Process(target=job.progress, args=(0.5,))
    process.start()
    process.join(LONG)
    return "fine" if process.exitcode == 1 else f"status {process.exitcode}"


@program
def job_sent_to_a_spawned_process(job: Job) -> Any:
    tries: list[Callable[[], Any]] = [
        lambda: pickle.dumps(job),
        lambda: multiprocessing.get_context("spawn").Process(target=reports, args=(job, "log")).start(),
    ]
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for each in [*tries, lambda: pool.submit(reports, job, "log").result(LONG)]:
            try:
                each()
            except TypeError as error:
                if "Job" not in str(error) or job.id not in str(error):
                    return str(error)
            else:
                return "was sent"
    pickle.dumps(Job())
    return "fine" if copy.copy(job).id == copy.deepcopy(job).id == job.id else "no copy"


@program
def child_that_yields(job: Job) -> Any:
    """Where it is a generator that says so; elsewhere it returns."""
    pid = os.fork()
    if pid == 0:
        return "yields in the child"
    code = child_of(pid)
    return "fine" if code == (1 if "generator" in job.model else 0) else f"status {code}"


@program
def child_with_a_loop_of_its_own(job: Job) -> Any:
    pid = os.fork()
    if pid == 0:
        os._exit(asyncio.run(asyncio.sleep(0, 5)))
    code = child_of(pid)
    return "fine" if code == 5 else f"status {code}"


# -- context ----------------------------------------------------------------------------------------------------------------------


@program
def context_is_clean(job: Job) -> Any:
    """To be run twice."""
    found = tenant.get(), structlog.contextvars.get_contextvars(), decimal.getcontext().prec
    tenant.set("somebody")
    structlog.contextvars.bind_contextvars(request="7")
    decimal.getcontext().prec = 5
    return "fine" if found == ("nobody", {}, 41) else repr(found)


# -- threads ----------------------------------------------------------------------------------------------------------------------


@program
def not_on_the_main_thread(job: Job) -> Any:
    return "fine" if threading.current_thread() is not threading.main_thread() else "on the main thread"


@program
def deep_recursion(job: Job) -> Any:
    nested: list[Any] = []
    # Since 3.12 the depth of C code has a limit of its own.
    for _ in range(20_000 if sys.version_info < (3, 12) else 1000):
        nested = [nested]
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        return "fine" if repr(nested).startswith("[[[") else "wrong"
    finally:
        sys.setrecursionlimit(before)


@program
def its_own_signals_do_nothing_to_it(job: Job) -> Any:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    return "fine"


# -- watching and replacing what the runner uses too ----------------------------------------------------------------------------------


@program
def a_profiler_around_reports(job: Job) -> Any:
    profile = cProfile.Profile()
    with profile:
        job.progress(0.5)
        job.log("a line")
        sleep_not()
    names = {entry.code.co_name for entry in profile.getstats() if not isinstance(entry.code, str)}  # type: ignore[attr-defined]
    return "fine" if "sleep_not" in names else str(names)


def sleep_not() -> None: ...


@program
def a_tracer_around_reports(job: Job) -> Any:
    seen = []
    sys.settrace(lambda frame, *_: seen.append(frame.f_code.co_name))
    try:
        job.progress(0.5)
        sleep_not()
    finally:
        sys.settrace(None)
    return "fine" if "sleep_not" in seen else str(seen)


@program
def a_clock_of_its_own_around_reports(job: Job) -> Any:
    with mock.patch("time.monotonic", side_effect=[1, 2]), mock.patch("time.sleep"):
        job.progress(0.5)
        job.log("a line")
        print("a line")
        return "fine" if time.monotonic() == 1 else "somebody else has asked it"


@program
def a_file_in_the_place_of_stdout(job: Job) -> Any:
    with tempfile.TemporaryFile("w+") as file:
        saved = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            print("a line", flush=True)
        finally:
            os.dup2(saved, 1)
            os.close(saved)
        file.seek(0)
        said = file.read()
    return "fine" if said == "a line\n" else said
