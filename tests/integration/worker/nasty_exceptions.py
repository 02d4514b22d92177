"""Exceptions that do harm when somebody looks at them, and ways to raise what ends a thread, a task or a process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longrun import Failure, RetryAfter
from longrun.errors import (
    ApiError,
    BadInput,
    BlobsFull,
    Canceled,
    InvalidOutput,
    JobError,
    JobFailed,
    LongrunError,
    QueueFull,
    ResultTooLarge,
    SoftTimeLimit,
    ValidationFailed,
)

#: Name → raises it.
NASTY: dict[str, Callable[[], Any]] = {}
#: Those that take their second, or more than that.
SLOW = {
    "str_sleeps",
    "str_loops",
    "str_waits_for_a_lock",
    "str_cannot_be_ended",
    "seconds_that_hang",
    "detail_that_hangs",
    "notes_that_hang",
    "an_argument_that_hangs",
}
HUGE = 30_000_000


def nasty(raises: Callable[[], Any]) -> Callable[[], Any]:
    NASTY[raises.__name__] = raises
    return raises


def _exit() -> Any:
    raise SystemExit("out")


def _forever() -> Any:
    while True:
        pass


# -- texts ----------------------------------------------------------------------------------------------------------------


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


class Text(str):
    """A text that does not let itself be used."""

    def __str__(self) -> str:
        return _exit()

    __len__ = __getitem__ = __format__ = __eq__ = encode = isprintable = splitlines = __add__ = __iter__ = lambda self, *_: _exit()  # type: ignore[assignment]
    __hash__ = lambda self: _exit()  # type: ignore[assignment]  # noqa: E731


class Value:
    """An object that does not let itself be written."""

    __repr__ = __str__ = __format__ = __eq__ = __bool__ = __float__ = __int__ = lambda self, *_: _exit()  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


_with_str("str_exits", _exit)
_with_str("str_of_a_failure_exits", _exit, Failure)
_with_str("str_is_interrupted", _raises(KeyboardInterrupt()))
_with_str("str_is_canceled", _raises(Canceled()))
_with_str("str_says_stop_iteration", _raises(StopIteration()))
_with_str("str_ends_a_generator", _raises(GeneratorExit()))
_with_str("str_is_out_of_memory", _raises(MemoryError()))
_with_str("str_sleeps", lambda: time.sleep(3600))
_with_str("str_loops", _forever)
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
        __dir__ = __getattr__ = __repr__ = lambda self, *_: _exit()  # type: ignore[assignment]

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


# -- our own classes, and what is derived from them -----------------------------------------------------------------------


@nasty
def a_failure_that_skips_init() -> None:
    @dataclass
    class Quota(Failure):
        limit: int

    raise Quota(3)


@nasty
def a_frozen_failure() -> None:
    @dataclass(frozen=True)
    class Quota(Failure):
        limit: int

    raise Quota(3)


@nasty
def a_retry_after_that_skips_init() -> None:
    @dataclass
    class Busy(RetryAfter):
        tenant: str

    raise Busy("t")


@nasty
def ours_that_skip_init() -> None:
    raise ExceptionGroup("all of them", [type("Mine", (kind,), {"__init__": lambda self: None})() for kind in _OURS])


_OURS: list[Any] = [ApiError, BadInput, BlobsFull, InvalidOutput, JobError, JobFailed, LongrunError, QueueFull, ResultTooLarge]


def _skips_init(kind: Any) -> None:
    def raises() -> None:
        raise type("Mine", (kind,), {"__init__": lambda self: None})

    NASTY[f"{kind.__name__}_that_skips_init"] = raises


for _kind in (*_OURS, ValidationFailed, Canceled, SoftTimeLimit):
    _skips_init(_kind)


def _with_member(kind: Any, name: str, value: Any, title: str) -> None:
    def raises() -> None:
        raise type("Mine", (kind,), {"__init__": lambda self: None, name: value() if callable(value) else value})

    NASTY[title] = raises


for _title, _value in {
    "none": None,
    "bytes": b"bytes \xff",
    "huge": "x" * HUGE,
    "half_a_pair": "\ud800",
    "odd_text": Text("text"),
    "object": Value(),
    "that_exits": lambda: property(lambda self: _exit()),
    "that_hangs": lambda: property(lambda self: time.sleep(3600)),
}.items():
    _with_member(Failure, "detail", _value, f"detail_{_title}")
for _title, _value in {
    "soon": "soon",
    "nan": float("nan"),
    "inf": float("inf"),
    "negative": -1,
    "huge": 10**400,
    "none": None,
    "object": Value(),
    "that_hang": lambda: property(lambda self: time.sleep(3600)),
}.items():
    _with_member(RetryAfter, "seconds", _value, f"seconds_{_title}")
_with_member(Failure, "cause", Value(), "cause_object")
_with_member(Failure, "cause", ValueError, "cause_class")
_with_member(Failure, "code", 7, "code_number")
_with_member(Failure, "code", property(lambda self: _exit()), "code_that_exits")
_with_member(Failure, "title", Value(), "title_object")


# -- classes --------------------------------------------------------------------------------------------------------------


@nasty
def a_class_that_says_it_is_another() -> None:
    class Liar(Exception):
        @property
        def __class__(self) -> Any:  # type: ignore[override]
            return _exit()

    raise Liar("text")


@nasty
def a_class_that_says_it_is_a_cancellation() -> None:
    class Liar(Exception):
        __class__ = Canceled  # type: ignore[assignment]

    raise Liar("text")


class Meta(type):
    __instancecheck__ = __eq__ = __repr__ = __str__ = lambda cls, *_: _exit()  # type: ignore[assignment]
    __hash__ = lambda cls: _exit()  # type: ignore[assignment]  # noqa: E731

    @property
    def __name__(cls) -> Any:
        return _exit()

    def __getattribute__(cls, name: str) -> Any:
        return _exit()


@nasty
def a_class_of_an_odd_metaclass() -> None:
    raise Meta("Odd", (Exception,), {})("text")


@nasty
def a_class_whose_subclasses_cannot_be_known() -> None:
    """Python itself raises in its place what the class raises when it is asked."""
    raise type("Asked", (Meta,), {"__subclasscheck__": lambda cls, other: _exit()})("Odd", (Exception,), {})("text")


@nasty
def a_class_whose_name_is_huge() -> None:
    raise type("N" * 3_000_000, (Exception,), {})("text")


@nasty
def a_class_whose_name_is_half_a_pair() -> None:
    raise type("N\ud800\n\t", (Exception,), {})("text")


@nasty
def a_class_whose_module_is_no_text() -> None:
    raise type("N", (Exception,), {"__module__": Value()})("text")


@nasty
def nothing_can_be_read_or_set() -> None:
    class Closed(Exception):
        def __getattribute__(self, name: str) -> Any:
            return _exit()

        def __setattr__(self, name: str, value: object) -> None:
            _exit()

        __delattr__ = __getattribute__  # type: ignore[assignment]

    raise Closed("text")


@nasty
def it_cannot_be_compared_or_pickled() -> None:
    class Odd(Exception):
        __eq__ = __hash__ = __reduce__ = __reduce_ex__ = __sizeof__ = __bool__ = lambda self, *_: _exit()  # type: ignore[assignment]

    raise Odd("text")


@nasty
def its_own_dict_is_odd() -> None:
    class Odd(dict[str, Any]):
        __getitem__ = __contains__ = __iter__ = __len__ = values = get = lambda self, *_: _exit()  # type: ignore[assignment]

    error = ValueError("text")
    error.__dict__ = Odd()
    raise error


@nasty
def it_raises_when_it_goes() -> None:
    class Odd(Exception):
        def __del__(self) -> None:
            raise type(self)("again") if self.args == ("text",) else SystemExit

    raise Odd("text")


# -- chains, groups and tracebacks ----------------------------------------------------------------------------------------


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
        __cause__ = __context__ = __suppress_context__ = __traceback__ = property(lambda self: _exit())  # type: ignore[assignment]

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
        exceptions = property(lambda self: _exit())  # type: ignore[assignment]
        derive = split = subgroup = lambda self, *_: _exit()  # type: ignore[assignment]

    raise Odd("g", [ValueError("text")])


def NASTY_ONE() -> Exception:  # noqa: N802
    return type("Nasty", (Exception,), {"__str__": lambda self: _exit()})()


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
        return _exit()


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


# -- what ends threads, tasks and processes -------------------------------------------------------------------------------


@nasty
def exit_with_a_reason() -> None:
    sys.exit("no such voice")


@nasty
def exit_with_a_status() -> None:
    sys.exit(3)


@nasty
def exit_in_peace() -> None:
    sys.exit()


@nasty
def exit_with_an_object() -> None:
    sys.exit(Value())  # type: ignore[arg-type]


def _as_it_is(error: BaseException | type[BaseException], name: str) -> None:
    def raises() -> None:
        raise error

    NASTY[name] = raises


_as_it_is(KeyboardInterrupt, "an_interrupt")
_as_it_is(GeneratorExit, "a_generators_end")
_as_it_is(asyncio.CancelledError, "a_tasks_end")
_as_it_is(concurrent.futures.CancelledError, "a_futures_end")
_as_it_is(asyncio.TimeoutError, "a_time_out")
_as_it_is(StopIteration, "an_iterators_end")
_as_it_is(type("Mine", (StopIteration,), {"value": property(lambda self: _exit())}), "an_odd_iterators_end")
_as_it_is(StopAsyncIteration, "an_async_iterators_end")
_as_it_is(BaseException, "the_base_of_all")
_as_it_is(type("Mine", (BaseException,), {"__str__": lambda self: _exit()}), "an_odd_base_of_all")
_as_it_is(Canceled, "a_cancellation_that_nobody_asked_for")
_as_it_is(SoftTimeLimit, "a_time_limit_that_is_none")
_as_it_is(MemoryError, "out_of_memory")
_as_it_is(RuntimeError("coroutine raised StopIteration"), "what_python_says_itself")
_as_it_is(ValueError("the same for all jobs"), "the_same_object_again")
