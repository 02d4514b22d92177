"""Type aliases in annotations: `type Row = list[float]`, generic ones, and those of NumPy and typing_extensions."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Annotated, Any, ForwardRef, Literal, Union, get_args, get_origin

from typing_inspection.typing_objects import is_typealiastype


class _Stays(Exception):
    """An alias contains itself, or names a type in quotes: only pydantic can read it."""

    def __init__(self, alias: Any) -> None:
        self.alias = alias


def unaliased(annotation: Any, inside: tuple[Any, ...] = ()) -> Any:
    """The annotation with what its aliases stand for in their place, at every level.

    An alias that contains itself stays, and one that names a type in quotes: pydantic knows how to read them.

    Args:
        inside: the aliases around it.

    Raises:
        Exception: whatever the author's code for an alias raises; it runs here for the first time.
    """
    alias = annotation if is_typealiastype(annotation) else get_origin(annotation)
    if is_typealiastype(alias):
        if alias in inside:
            raise _Stays(alias)
        arguments = tuple(unaliased(each, inside) for each in get_args(annotation))  # `Vec[Vec[int]]` is no circle
        try:
            return unaliased(_value(alias, arguments), (*inside, alias))
        except _Stays as found:
            if found.alias is not alias:
                raise
            return annotation
    if inside and isinstance(annotation, (str, ForwardRef)):
        raise _Stays(inside[-1])
    return rebuilt(annotation, lambda each: unaliased(each, inside))


def _value(alias: Any, arguments: tuple[Any, ...]) -> Any:
    """What an alias stands for, with its type parameters replaced by `arguments`."""
    value = alias.__value__
    given = dict(zip(alias.__type_params__, arguments, strict=False))
    if value in alias.__type_params__:
        return given.get(value, value)
    wanted = getattr(value, "__parameters__", ())
    if not given or not wanted:
        return value
    # As they are given, where that is possible: one `*Ts` may stand for many.
    return value[arguments if wanted == alias.__type_params__ else tuple(given.get(each, each) for each in wanted)]


def rebuilt(annotation: Any, change: Callable[[Any], Any]) -> Any:
    """The annotation with `change` made to each of its arguments, such as the `int` of `list[int]`; itself where that changes none."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return annotation
    if origin is Annotated:
        return Annotated[change(arguments[0]), *annotation.__metadata__]
    changed = tuple(map(change, arguments))
    if changed == arguments:
        return annotation
    if origin in (Union, types.UnionType):
        return Union[changed]  # noqa: UP007 - of as many as there are
    return origin[changed]
