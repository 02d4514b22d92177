"""Children, and the signals that they begin with."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from longrun import Job

from .corpus import LONG, program


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
