"""What an exception says: texts that exit, hang, are huge or are none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from longrun import Failure
from longrun.errors import (
    Canceled,
)

from .corpus import HUGE, NASTY, Text, Value, exits, loops_for_ever, nasty


def _with_str(name: str, make: Callable[[], Any], base: type[BaseException] = Exception) -> None:
    """An exception whose `__str__` and `__repr__` do this."""

    def raises() -> None:
        members = {"__str__": lambda self: make(), "__repr__": lambda self: make()}
        raise type("Nasty", (base,), members)("text")

    NASTY[name] = raises


def _raises(error: BaseException) -> Callable[[], Any]:
    def call() -> Any:
        raise error

    return call


def _waits_for_a_lock() -> Any:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def _cannot_be_ended() -> Any:
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            continue


_with_str("str_exits", exits)
_with_str("str_of_a_failure_exits", exits, Failure)
_with_str("str_is_interrupted", _raises(KeyboardInterrupt()))
_with_str("str_is_canceled", _raises(Canceled()))
_with_str("str_says_stop_iteration", _raises(StopIteration()))
_with_str("str_ends_a_generator", _raises(GeneratorExit()))
_with_str("str_is_out_of_memory", _raises(MemoryError()))
_with_str("str_sleeps", lambda: time.sleep(3600))
_with_str("str_loops", loops_for_ever)
_with_str("str_waits_for_a_lock", _waits_for_a_lock)
_with_str("str_cannot_be_ended", _cannot_be_ended)
_with_str("str_is_huge", lambda: "x" * HUGE)
_with_str("str_has_many_lines", lambda: "x\n" * (HUGE // 2))
_with_str("str_is_none", lambda: None)
_with_str("str_is_bytes", lambda: b"bytes")
_with_str("str_is_another_text", lambda: Text("text"))
_with_str("str_is_half_a_pair", lambda: "half \ud800 pair")
_with_str("str_has_nul", lambda: "a\0b")


@nasty
def str_recurses() -> None:
    class Endless(Exception):
        def __str__(self) -> str:
            return f"{self}"

    raise Endless


@nasty
def str_raises_itself() -> None:
    class Again(Exception):
        def __str__(self) -> str:
            raise self

    raise Again


@nasty
def arguments_that_cannot_be_written() -> None:
    raise ValueError(Value(), Value())


@nasty
def an_argument_that_hangs() -> None:
    class Slow:
        def __repr__(self) -> str:
            time.sleep(3600)
            return ""

    raise KeyError(Slow())


@nasty
def one_argument_that_cannot_be_written() -> None:
    raise KeyError(Value())


@nasty
def an_argument_that_is_no_plain_text() -> None:
    raise RuntimeError(Text("text"))


@nasty
def huge_arguments() -> None:
    raise ValueError("x" * HUGE, b"y" * HUGE)


@nasty
def a_number_that_cannot_be_written() -> None:
    raise ValueError(10**100_000)


@nasty
def a_file_name_that_cannot_be_written() -> None:
    error = FileNotFoundError(2, "not there", "file")
    error.filename = Value()
    raise error


@nasty
def a_syntax_error_of_odd_parts() -> None:
    error = SyntaxError("bad", ("file", 1, 2, "line"))
    error.msg, error.text, error.lineno = Value(), Value(), Value()  # type: ignore[assignment]
    raise error


@nasty
def an_import_error_of_odd_parts() -> None:
    raise ImportError(Text("text"), name=Value(), path=Value())  # type: ignore[arg-type]


@nasty
def an_attribute_error_of_an_odd_object() -> None:
    class Odd:
        __dir__ = __getattr__ = __repr__ = lambda self, *_: exits()  # type: ignore[assignment]

    raise AttributeError("text", name="name", obj=Odd())


@nasty
def bytes_that_are_no_text() -> None:
    b"\xff".decode()


@nasty
def pydantics_own_with_a_value_that_cannot_be_written() -> None:
    from pydantic import TypeAdapter

    TypeAdapter(int).validate_python(Value())


@nasty
def notes_that_are_none() -> None:
    error = ValueError("text")
    error.__notes__ = Value()  # type: ignore[assignment]
    raise error


@nasty
def notes_that_cannot_be_written() -> None:
    error = ValueError("text")
    error.__notes__ = [Text("a"), Value(), "x" * HUGE, None]  # type: ignore[list-item]
    raise error


@nasty
def notes_that_hang() -> None:
    class Hanging(Exception):
        @property
        def __notes__(self) -> Any:
            return time.sleep(3600)

    raise Hanging("text")
