"""What JSON can hold, and how a model's values become that.

Values that JSON has no word for are replaced and noted (NaN and infinity, half characters) or refused (bytes, cycles, unknown
objects). Arrays are recognised by `.tolist()`, so numpy and torch are never imported here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, SchemaSerializer, to_jsonable_python

from longrun.errors import InvalidOutput
from longrun.models.file_types import as_file
from longrun.models.pointers import pointer, shorten

#: Deepest nesting of lists and objects; the same limit holds for inputs, so that an output can be another job's input.
MAX_DEPTH = 64
NOT_FINITE = "NaN or infinity became null"

# A place inside the value: the place around it and the key, rendered only when it is shown.
Place = tuple["Place", str | int] | None


_BUILTIN = frozenset((type(None), bool, int, float, str, bytes, bytearray, memoryview, list, tuple, set, frozenset, dict))
_NAMED_PLACES = 3


class Repairs:
    """What was replaced to make a value fit JSON: for each kind of replacement, the first places."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, None]] = {}

    def note(self, text: str, at: Place) -> None:
        """Remember a replacement; noting the same one twice counts once."""
        places = self._places.setdefault(text, {})
        if len(places) <= _NAMED_PLACES:
            places[render(at)] = None

    def warnings(self) -> list[str]:
        """One sentence for each kind of replacement, for the job's log."""
        return [
            f"{text} at {', '.join(list(places)[:_NAMED_PLACES])}{' and more' if len(places) > _NAMED_PLACES else ''}"
            for text, places in self._places.items()
        ]


def as_list(value: Any) -> Any:
    """An array, tensor or array scalar as plain Python; everything else unchanged.

    Raises:
        InvalidOutput: the array refused.
    """
    if type(value) in _BUILTIN or isinstance(value, (BaseModel, Enum)) or is_dataclass(value):
        return value
    dtype = getattr(value, "dtype", None)
    if getattr(dtype, "kind", "") == "c" or getattr(dtype, "is_complex", False):
        raise InvalidOutput(f"JSON has no complex numbers ({dtype}): return the real and the imaginary part")
    for name in ("tolist", "item"):
        convert = getattr(type(value), name, None)
        if callable(convert):
            try:
                return convert(value)
            except Exception as error:
                raise InvalidOutput(f"a {type(value).__name__} could not be read with .{name}()", cause=type(error).__name__) from error
    return value


def without_arrays(value: Any, repairs: Repairs, at: Place = None, depth: int = 0) -> Any:
    """Lists, tuples, sets and dicts with their arrays and half characters replaced; other objects stay for the validator.

    Raises:
        InvalidOutput: the value is nested over 64 deep, or an array refused.
    """
    value = as_list(value)
    kind = type(value)
    if kind is str:
        return _whole_characters(value, repairs, at)
    if kind in (list, tuple, set, frozenset):
        _check_depth(depth, at)
        return kind(without_arrays(item, repairs, (at, index), depth + 1) for index, item in enumerate(value))
    if kind is dict:
        _check_depth(depth, at)
        return {key: without_arrays(item, repairs, (at, str(key)), depth + 1) for key, item in value.items()}
    return value


def to_json_value(value: Any, repairs: Repairs, at: Place = None, depth: int = 0) -> Any:
    """The value as None, bool, int, float, str, list and dict with str keys only.

    Raises:
        InvalidOutput: JSON cannot hold it; the detail says what and where.
    """
    value = as_list(value)
    if isinstance(value, Enum):
        return to_json_value(value.value, repairs, at, depth)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return _finite(value, repairs, at)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return _whole_characters(value, repairs, at)
    if (file := as_file(value)) is not None:
        return to_json_value(file.as_json(), repairs, at, depth)
    return _composite_to_json(value, repairs, at, depth)


def _composite_to_json(value: Any, repairs: Repairs, at: Place, depth: int) -> Any:
    if isinstance(value, BaseModel):
        return to_json_value(dump_model(type(value).__pydantic_serializer__, value, repairs, at), repairs, at, depth)
    if is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, Mapping):
        _check_depth(depth, at)
        return _object_to_json(value, repairs, at, depth)
    if isinstance(value, (Sequence, Set)):
        _check_depth(depth, at)
        return [to_json_value(item, repairs, (at, index), depth + 1) for index, item in enumerate(value)]
    if isinstance(value, (BaseException, Iterator)):
        raise _unknown(value, at)
    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise _unknown(value, at) from error


def _object_to_json(value: Mapping[Any, Any], repairs: Repairs, at: Place, depth: int) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, item in value.items():
        name = _key(key, repairs, at)
        if name in members:
            raise InvalidOutput(f"{render(at)} has two keys that are both {shorten(name, 60)!r} in JSON")
        members[name] = to_json_value(item, repairs, (at, name), depth + 1)
    return members


def _key(key: Any, repairs: Repairs, at: Place) -> str:
    key = as_list(key)
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return _whole_characters(key, repairs, (at, "a key"))
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, (int, float)):
        return repr(key)
    if not isinstance(key, (bytes, Iterable)):
        try:
            text = to_jsonable_python(key)
        except (PydanticSerializationError, ValueError) as error:
            raise _unknown_key(key, at) from error
        if isinstance(text, str):
            return text
    raise _unknown_key(key, at)


def dump_model(serializer: SchemaSerializer, value: Any, repairs: Repairs, at: Place = None) -> Any:
    """What pydantic's serializer makes of a value in JSON mode; numbers that it turns into null are noted.

    Raises:
        InvalidOutput: the serializer refused.
    """

    def other(found: Any) -> Any:
        # Somewhere inside: pydantic does not say where. What is not finite was noted with its place before.
        return to_json_value(found, Repairs(), (at, "…"))

    try:
        # In JSON mode a NaN under an `Any` is already None: only the Python form shows it.
        _note_not_finite(serializer.to_python(value, mode="python", by_alias=True, warnings="none"), repairs, at)
        return serializer.to_python(value, mode="json", by_alias=True, warnings="none", fallback=other)
    except InvalidOutput:
        raise
    except Exception as error:
        # Whatever a serializer of the author's raises: the value has no JSON form, and that is the whole finding.
        raise InvalidOutput(f"{render(at)}: {type(value).__name__} could not be made into JSON", cause=type(error).__name__) from error


def depth_over(value: Any, limit: int) -> bool:
    """Whether lists and dicts are nested deeper than `limit`."""
    level = [value]
    for _ in range(limit):
        level = [item for each in level if (items := _items(each)) for item in items if isinstance(item, (list, tuple, dict))]
        if not level:
            return False
    return True


def render(at: Place) -> str:
    """The JSON pointer of a place, from `/output`."""
    parts: list[str | int] = []
    while at is not None:
        at, part = at
        parts.append(part)
    return shorten(pointer("/output", reversed(parts)))


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def _note_not_finite(value: Any, repairs: Repairs, at: Place, depth: int = 0) -> None:
    value = as_list(value)
    if isinstance(value, float):
        _finite(value, repairs, at)
        return
    if isinstance(value, Iterator):
        # pydantic would read it up; by now it may have done so, and the rest would be lost.
        raise _unknown(value, at)
    if isinstance(value, (dict, list, tuple)):
        _check_depth(depth, at)
    if isinstance(value, dict):
        for key, item in value.items():
            _note_not_finite(item, repairs, (at, str(key)), depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _note_not_finite(item, repairs, (at, index), depth + 1)


def _finite(number: float, repairs: Repairs, at: Place) -> float | None:
    if math.isfinite(number):
        return float(number)
    repairs.note(NOT_FINITE, at)
    return None


def _whole_characters(text: str, repairs: Repairs, at: Place) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        repairs.note("a lone surrogate (half a character) became U+FFFD", at)
        # Two halves that belong together become their character; a half alone becomes U+FFFD.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return str(text)


def _check_depth(depth: int, at: Place) -> None:
    if depth >= MAX_DEPTH:
        raise InvalidOutput(f"{render(at)} is nested over {MAX_DEPTH} deep, or contains itself; return a flatter value")


def _unknown(value: Any, at: Place) -> InvalidOutput:
    return InvalidOutput(
        f"{render(at)} is of type {type(value).__name__}, which JSON cannot hold: return text, numbers, lists, dicts or a BaseModel"
    )


def _unknown_key(key: Any, at: Place) -> InvalidOutput:
    return InvalidOutput(f"{render(at)} has a key of type {type(key).__name__}: use text as keys")
