"""Causes in chains and rings, groups, and tracebacks."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from .corpus import NASTY, Text, exits, nasty


@nasty
def caused_by_itself() -> None:
    error = ValueError("text")
    raise error from error


@nasty
def a_ring_of_causes() -> None:
    first, second, third = ValueError("first"), KeyError("second"), OSError("third")
    first.__cause__, second.__context__, third.__cause__ = second, third, first
    raise first


@nasty
def out_of_memory_in_a_ring() -> None:
    first, second = MemoryError("first"), MemoryError("second")
    first.__cause__, second.__context__ = second, first
    raise first


@nasty
def a_chain_without_end() -> None:
    last = ValueError("0")
    for number in range(100_000):
        error = ValueError(number)
        error.__context__ = last
        last = error
    raise last


@nasty
def causes_that_exit() -> None:
    class Odd(Exception):
        __cause__ = __context__ = __suppress_context__ = __traceback__ = property(lambda self: exits())  # type: ignore[assignment]

    raise Odd("text")


@nasty
def a_cause_that_exits_when_it_is_written() -> None:
    try:
        NASTY["str_exits"]()
    except Exception as error:
        raise ValueError("text") from error


@nasty
def a_group_as_deep_as_it_gets() -> None:
    error: Exception = ValueError("text")
    for _ in range(5_000):
        error = ExceptionGroup("g", [error])
    raise error


@nasty
def a_group_as_wide_as_it_gets() -> None:
    raise ExceptionGroup("g", [ValueError(number) for number in range(100_000)])


@nasty
def a_group_of_the_same() -> None:
    error: Exception = ValueError("text")
    for _ in range(40):  # 2 ** 40 of them
        error = ExceptionGroup("g", [error, error])
    raise error


@nasty
def a_group_in_a_ring() -> None:
    error = ValueError("text")
    group = ExceptionGroup("g", [error])
    error.__cause__ = group
    raise group from error


@nasty
def a_group_of_exits() -> None:
    raise BaseExceptionGroup("g", [SystemExit("out"), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])


@nasty
def a_group_whose_text_is_odd() -> None:
    raise ExceptionGroup(Text("g"), [NASTY_ONE()])


@nasty
def a_group_that_hides_its_exceptions() -> None:
    class Odd(ExceptionGroup[Exception]):
        exceptions = property(lambda self: exits())  # type: ignore[assignment]
        derive = split = subgroup = lambda self, *_: exits()  # type: ignore[assignment]

    raise Odd("g", [ValueError("text")])


def NASTY_ONE() -> Exception:  # noqa: N802
    return type("Nasty", (Exception,), {"__str__": lambda self: exits()})()


@nasty
def thousands_of_frames() -> None:
    def deeper(left: int) -> None:
        if not left:
            raise ValueError("text")
        try:
            deeper(left - 1)
        except RecursionError:
            raise ValueError("as deep as it gets") from None

    deeper(10_000)


@nasty
def endless_recursion() -> None:
    def again() -> None:
        again()

    again()


class Loader:
    def __getattribute__(self, name: str) -> Any:
        return exits()


@nasty
def a_module_whose_loader_is_odd() -> None:
    exec(compile("raise ValueError('text')", "/not/there.py", "exec"), {"__loader__": Loader(), "__spec__": Loader(), "__name__": "odd"})


@nasty
def source_in_a_pipe() -> None:
    name = str(Path(tempfile.mkdtemp()) / "pipe")
    os.mkfifo(name)
    exec(compile("raise ValueError('text')", name, "exec"), {})


@nasty
def source_without_end() -> None:
    exec(compile("raise ValueError('text')", "/dev/zero", "exec"), {})


@nasty
def source_with_an_impossible_name() -> None:
    exec(compile("raise ValueError('text')", "\ud800" + "x" * 100_000, "exec"), {})


@nasty
def a_traceback_made_by_hand() -> None:
    error = ValueError("text")
    for number in (-1, 0, 10**6):
        error.__traceback__ = types.TracebackType(error.__traceback__, sys._getframe(), number, number)
    raise error
