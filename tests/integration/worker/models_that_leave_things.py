"""Jobs that leave their process in a bad state: those that come after them and run beside them are innocent."""

from __future__ import annotations

import asyncio
import linecache
import os
import sys
import time
import traceback
import types
from collections.abc import Callable
from typing import Any

import structlog

from longrun import Job, model

LEFT: dict[str, Callable[[], Any]] = {}


def left(function: Callable[[], Any]) -> Callable[[], Any]:
    LEFT[function.__name__] = function
    return function


class Text:
    """It does not let itself be written, or only after an hour."""

    def __init__(self, wait: bool = False) -> None:
        self._wait = wait

    def __repr__(self) -> str:
        return str(time.sleep(3600)) if self._wait else sys.exit("written")

    __str__ = __repr__


def _exits(*_: Any, **__: Any) -> Any:
    raise SystemExit("out")


@left
def a_low_recursion_limit() -> None:
    for limit in range(20, 2000):
        try:
            return sys.setrecursionlimit(limit)
        except RecursionError:
            continue


@left
def loggers_that_raise() -> None:
    structlog.configure(processors=[lambda *_: {}["processor"]])


@left
def loggers_that_exit() -> None:
    structlog.configure(processors=[_exits])


@left
def loggers_that_do_not_fit() -> None:
    structlog.configure(processors=[structlog.stdlib.add_logger_name], logger_factory=structlog.PrintLoggerFactory())


@left
def a_bound_value_that_exits() -> None:
    structlog.contextvars.bind_contextvars(value=Text())


@left
def a_bound_value_that_hangs() -> None:
    structlog.contextvars.bind_contextvars(value=Text(wait=True), event=1, exception=2)


@left
def a_tracer_that_raises_later() -> None:
    calls = iter(range(60))

    def trace(*_: Any) -> Any:
        next(calls)
        return trace

    sys.settrace(trace)


@left
def a_profiler_that_exits_later() -> None:
    calls = iter(range(60))
    sys.setprofile(lambda *_: next(calls, None) is not None or _exits())


@left
def libraries_that_exit() -> None:
    linecache.checkcache = linecache.getlines = traceback.StackSummary.from_list = _exits  # type: ignore[method-assign]


@left
def a_module_that_exits() -> None:
    class Odd(types.ModuleType):
        __getattribute__ = _exits

    sys.modules["torch"] = Odd("torch")


async def _in_a_task(error: BaseException) -> None:
    async def alone() -> None:
        raise error

    task = asyncio.create_task(alone())
    await asyncio.wait([task])


def _exit_that_hangs() -> BaseException:
    return type("Out", (SystemExit,), {"__str__": lambda self: time.sleep(3600), "__repr__": lambda self: time.sleep(3600)})("out")


def _ring_of_exits() -> BaseException:
    error, cause = KeyboardInterrupt(Text()), SystemExit(Text(wait=True))
    error.__cause__, cause.__cause__ = cause, error
    return error


def _factory(factory: Any) -> None:
    asyncio.get_running_loop().set_task_factory(factory)


#: What only a coroutine can leave behind.
LEFT_TO_THE_LOOP: dict[str, Callable[[], Any]] = {
    "a_task_factory_that_exits": lambda: _factory(_exits),
    "a_task_factory_of_the_old_kind": lambda: _factory(lambda loop, code: asyncio.Task(code, loop=loop)),
    "an_exit_that_hangs": lambda: _in_a_task(_exit_that_hangs()),
    "a_ring_of_exits": lambda: _in_a_task(_ring_of_exits()),
}


@model(concurrency=1, timeout=60)
def leaves(what: str) -> int:
    if what:
        LEFT[what]()
        raise ValueError(what)
    return os.getpid()


@model(concurrency=20, timeout=60)
async def leaves_async(what: str, job: Job) -> int:
    if what:
        waits = {**LEFT, **LEFT_TO_THE_LOOP}[what]()
        if waits is not None:
            await waits
        raise ValueError(what)
    await asyncio.sleep(0.05)
    return os.getpid()
