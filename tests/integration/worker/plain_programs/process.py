"""What a program finds and does in its own process: contexts, threads, and what the runner uses too."""

from __future__ import annotations

import cProfile
import decimal
import os
import signal
import sys
import tempfile
import threading
import time
from typing import Any
from unittest import mock

import structlog

from longrun import Job

from .corpus import program, tenant


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
