"""Forked children that go on with what is not theirs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import structlog

from longrun import Job, LongrunError

from .corpus import LONG, program


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
