"""Where the exceptions are kept, and what does harm by being looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def exits() -> Any:
    raise SystemExit("out")


def loops_for_ever() -> Any:
    while True:
        pass


class Text(str):
    """A text that does not let itself be used."""

    def __str__(self) -> str:
        return exits()

    __len__ = __getitem__ = __format__ = __eq__ = encode = isprintable = splitlines = __add__ = __iter__ = lambda self, *_: exits()  # type: ignore[assignment]
    __hash__ = lambda self: exits()  # type: ignore[assignment]  # noqa: E731


class Value:
    """An object that does not let itself be written."""

    __repr__ = __str__ = __format__ = __eq__ = __bool__ = __float__ = __int__ = lambda self, *_: exits()  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]
