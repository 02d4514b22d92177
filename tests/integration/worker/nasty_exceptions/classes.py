"""Classes of exceptions that lie or do harm."""

from __future__ import annotations

from typing import Any

from longrun.errors import (
    Canceled,
)

from .corpus import Value, exits, nasty


@nasty
def a_class_that_says_it_is_another() -> None:
    class Liar(Exception):
        @property
        def __class__(self) -> Any:  # type: ignore[override]
            return exits()

    raise Liar("text")


@nasty
def a_class_that_says_it_is_a_cancellation() -> None:
    class Liar(Exception):
        __class__ = Canceled  # type: ignore[assignment]

    raise Liar("text")


class Meta(type):
    __instancecheck__ = __eq__ = __repr__ = __str__ = lambda cls, *_: exits()  # type: ignore[assignment]
    __hash__ = lambda cls: exits()  # type: ignore[assignment]  # noqa: E731

    @property
    def __name__(cls) -> Any:
        return exits()

    def __getattribute__(cls, name: str) -> Any:
        return exits()


@nasty
def a_class_of_an_odd_metaclass() -> None:
    raise Meta("Odd", (Exception,), {})("text")


@nasty
def a_class_whose_subclasses_cannot_be_known() -> None:
    """Python itself raises in its place what the class raises when it is asked."""
    raise type("Asked", (Meta,), {"__subclasscheck__": lambda cls, other: exits()})("Odd", (Exception,), {})("text")


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
            return exits()

        def __setattr__(self, name: str, value: object) -> None:
            exits()

        __delattr__ = __getattribute__  # type: ignore[assignment]

    raise Closed("text")


@nasty
def it_cannot_be_compared_or_pickled() -> None:
    class Odd(Exception):
        __eq__ = __hash__ = __reduce__ = __reduce_ex__ = __sizeof__ = __bool__ = lambda self, *_: exits()  # type: ignore[assignment]

    raise Odd("text")


@nasty
def its_own_dict_is_odd() -> None:
    class Odd(dict[str, Any]):
        __getitem__ = __contains__ = __iter__ = __len__ = values = get = lambda self, *_: exits()  # type: ignore[assignment]

    error = ValueError("text")
    error.__dict__ = Odd()
    raise error


@nasty
def it_raises_when_it_goes() -> None:
    class Odd(Exception):
        def __del__(self) -> None:
            raise type(self)("again") if self.args == ("text",) else SystemExit

    raise Odd("text")
