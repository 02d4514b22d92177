"""What ends a thread, a task or a process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys

from longrun.errors import (
    Canceled,
    SoftTimeLimit,
)

from .corpus import NASTY, Value, exits, nasty


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
_as_it_is(type("Mine", (StopIteration,), {"value": property(lambda self: exits())}), "an_odd_iterators_end")
_as_it_is(StopAsyncIteration, "an_async_iterators_end")
_as_it_is(BaseException, "the_base_of_all")
_as_it_is(type("Mine", (BaseException,), {"__str__": lambda self: exits()}), "an_odd_base_of_all")
_as_it_is(Canceled, "a_cancellation_that_nobody_asked_for")
_as_it_is(SoftTimeLimit, "a_time_limit_that_is_none")
_as_it_is(MemoryError, "out_of_memory")
_as_it_is(RuntimeError("coroutine raised StopIteration"), "what_python_says_itself")
_as_it_is(ValueError("the same for all jobs"), "the_same_object_again")
