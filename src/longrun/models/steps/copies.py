"""Copies of what a local step is given: what its function changes in them is not seen by the caller, as it is not at a replay."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel


def own_copy(value: Any, made: dict[int, Any] | None = None) -> Any:
    """The same value in containers and records of its own. Other objects, such as connections, stay what they are.

    Args:
        made: copies of what was met before, by id: what contains itself, or one thing twice, does so in the copy.
    """
    made = {} if made is None else made
    if id(value) in made:
        return made[id(value)]
    kind = type(value)
    if kind is list:
        items: list[Any] = []
        made[id(value)] = items
        items += [own_copy(each, made) for each in value]
        return items
    if kind is dict:
        members: dict[Any, Any] = {}
        made[id(value)] = members
        members |= {name: own_copy(each, made) for name, each in value.items()}
        return members
    if kind is tuple:
        return tuple(own_copy(each, made) for each in value)
    if kind in (set, bytearray):
        return copy.copy(value)
    if isinstance(value, BaseModel):
        names: Iterable[str] = vars(value)
    elif is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in fields(value)]
    else:
        return value
    record = made[id(value)] = copy.copy(value)
    for name in list(names):
        object.__setattr__(record, name, own_copy(getattr(value, name), made))  # it may be frozen
    return record
