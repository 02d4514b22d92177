"""Our own exceptions, and what is derived from them."""

from __future__ import annotations

import time
from dataclasses import dataclass
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

from .corpus import HUGE, NASTY, Text, Value, exits, nasty


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
    "that_exits": lambda: property(lambda self: exits()),
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
_with_member(Failure, "code", property(lambda self: exits()), "code_that_exits")
_with_member(Failure, "title", Value(), "title_object")
