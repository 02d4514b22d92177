"""Whether a JSON value fits a JSON Schema (2020-12), as far as pydantic's schemas of types go.

What a schema says in words that are not read here fits: whoever checks so has the type itself look at the value later. A list or object
and a place of the schema are looked at together once, so that the work is bounded by the size of both, also where a schema contains itself
and a value might be of several of its forms. (jsonschema-rs 0.60 needs 18 s to list what is wrong with a value of 16 levels.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

import orjson
from pydantic_core import CoreSchema, SchemaError, SchemaValidator, ValidationError, core_schema

from longrun.models.pointers import MOST_FINDINGS, pointer, shorten
from longrun.service.jsontext import canonical, compact

_Path = tuple[str | int, ...]
_Wrong = tuple[_Path, str]

#: The type of JSON that a Python value is, and what is said where another one is wanted. A whole number is a number too.
_KINDS = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
_WANTED = {
    "null": "null", "boolean": "true or false", "integer": "a whole number", "number": "a number", "string": "a text", "array": "an array",
    "object": "an object",
}  # fmt: skip
_FORMATS: dict[str, tuple[CoreSchema, str]] = {
    "date-time": (core_schema.datetime_schema(), "a time such as 2026-01-31T09:30:00Z"),
    "date": (core_schema.date_schema(), "a date such as 2026-01-31"),
    "time": (core_schema.time_schema(), "a time of day such as 09:30:00"),
    "duration": (core_schema.timedelta_schema(), "a duration such as PT5M"),
    "uuid": (core_schema.uuid_schema(), "a UUID"),
    "uri": (core_schema.url_schema(), "a URL"),
}


def findings(value: Any, schema: Any, root: str = "") -> list[dict[str, str]]:
    """What is wrong with `value`, decoded JSON: at most fifty of `{"pointer", "detail"}`; none: it fits. `root`: its pointer."""
    return [{"pointer": shorten(pointer(root, path)), "detail": shorten(detail)} for path, detail in _Check(schema).of(value, schema)]


class _Check:
    def __init__(self, root: Any) -> None:
        self._root = root
        # Values and schemas stay where they are while this is there, so their ids do not come to mean others.
        self._known: dict[tuple[int, int], list[_Wrong]] = {}

    def of(self, value: Any, schema: Any) -> list[_Wrong]:
        """What is wrong, with paths from `value` on."""
        if not isinstance(schema, dict):
            return [((), "nothing may stand here")] if schema is False else []
        place = (id(value), id(schema))
        if place not in self._known:
            self._known[place] = []  # what refers to itself without an end says nothing
            self._known[place] = list(islice(self._wrong(value, schema), MOST_FINDINGS))
        return self._known[place]

    def _wrong(self, value: Any, schema: dict[str, Any]) -> Iterator[_Wrong]:
        wanted = schema.get("type")
        if wanted is not None and not any(_is(value, each) for each in (wanted if isinstance(wanted, list) else [wanted])):
            yield (), f"must be {' or '.join(_WANTED.get(each, str(each)) for each in (wanted if isinstance(wanted, list) else [wanted]))}"
            return
        if "$ref" in schema:
            yield from self.of(value, self._referred(schema["$ref"]))
        for each in schema.get("allOf", ()):
            yield from self.of(value, each)
        for choices in ("anyOf", "oneOf"):
            if choices in schema:
                yield from self._of_choices(value, schema, schema[choices])
        if "const" in schema and not _same(value, schema["const"]):
            yield (), f"must be {_shown(schema['const'])}"
        # What are the same are equal, which Python finds out much sooner.
        if "enum" in schema and not (value in schema["enum"] and any(_same(value, each) for each in schema["enum"])):
            yield (), f"must be {' or '.join(map(_shown, schema['enum'][:20]))}"
        if isinstance(value, dict):
            yield from self._of_object(value, schema)
        elif isinstance(value, list):
            yield from self._of_array(value, schema)
        elif isinstance(value, str):
            yield from (((), each) for each in _of_text(value, schema))
        elif not isinstance(value, bool) and value is not None:
            yield from (((), each) for each in _of_number(value, schema))

    def _referred(self, reference: Any) -> Any:
        found = self._root
        for part in str(reference).removeprefix("#").split("/")[1:]:
            found = found.get(part.replace("~1", "/").replace("~0", "~"), True) if isinstance(found, dict) else True
        return found if str(reference).startswith("#") else True

    def _of_choices(self, value: Any, schema: dict[str, Any], choices: list[Any]) -> Iterator[_Wrong]:
        """One of the choices is enough, also of `oneOf`, which pydantic writes where a member says which it is."""
        said = schema.get("discriminator") or {}
        if isinstance(value, dict) and isinstance(name := value.get(said.get("propertyName")), str) and name in said.get("mapping", {}):
            yield from self.of(value, self._referred(said["mapping"][name]))
            return
        found = [self.of(value, each) for each in choices]
        if not found or not all(found):
            return
        # Of the right type is, in most cases, one: `Model | None`.
        meant = [each for each in found if any(path for path, _ in each)]
        if len(meant) == 1:
            yield from meant[0]
            return
        texts = dict.fromkeys(detail for each in found for path, detail in each if not path)
        yield (
            (),
            " or ".join(texts).replace(" or must be ", " or ")
            if len(texts) == len(found)
            else f"fits none of the {len(choices)} forms that are allowed",
        )

    def _of_object(self, value: dict[str, Any], schema: dict[str, Any]) -> Iterator[_Wrong]:
        for name in schema.get("required", ()):
            if name not in value:
                yield (name,), "missing"
        yield from (((), each) for each in _of_size(len(value), schema, "Properties", "members"))
        known, patterns, others = (
            schema.get("properties", {}),
            schema.get("patternProperties", {}),
            schema.get("additionalProperties", True),
        )
        for name, each in value.items():
            inner = [known[name]] if name in known else []
            inner += [part for pattern, part in patterns.items() if _matches(pattern, name) is not False]
            if not inner and others is False:
                yield (name,), "There is no such field"
            for part in inner or ([others] if isinstance(others, dict) else []):
                yield from _under(name, self.of(each, part))
            if "propertyNames" in schema:
                yield from (((name,), f"its name {detail}") for _, detail in self.of(name, schema["propertyNames"]))

    def _of_array(self, value: list[Any], schema: dict[str, Any]) -> Iterator[_Wrong]:
        yield from (((), each) for each in _of_size(len(value), schema, "Items", "items"))
        first = schema.get("prefixItems", [])
        for index, each in enumerate(value):
            yield from _under(index, self.of(each, first[index] if index < len(first) else schema.get("items", True)))
        if schema.get("uniqueItems") and len(set(map(canonical, value))) < len(value):
            yield (), "must hold each item once"


def _under(part: str | int, wrong: list[_Wrong]) -> Iterator[_Wrong]:
    return (((part, *path), detail) for path, detail in wrong)


def _is(value: Any, wanted: Any) -> bool:
    kind = _KINDS[type(value)]
    if kind == wanted or wanted not in _WANTED:
        return True
    return (wanted == "number" and kind == "integer") or (wanted == "integer" and kind == "number" and value.is_integer())


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one in JSON, where true is no number and 1.0 is 1."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(each, other[name]) for name, each in one.items())
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _shown(value: Any) -> str:
    return compact(value).decode()


def _of_size(size: int, schema: dict[str, Any], of: str, what: str) -> Iterator[str]:
    if size < schema.get(f"min{of}", 0):
        yield f"must have at least {schema[f'min{of}']} {what}"
    if size > schema.get(f"max{of}", size):
        yield f"must have at most {schema[f'max{of}']} {what}"


def _of_text(value: str, schema: dict[str, Any]) -> Iterator[str]:
    yield from _of_size(len(value), schema, "Length", "characters")
    if "pattern" in schema and _matches(schema["pattern"], value) is False:
        yield f"must match {schema['pattern']}"
    wanted = _FORMATS.get(schema.get("format", ""))
    if wanted is not None and not _passes(_format(schema["format"]), value):
        yield f"must be {wanted[1]}"


_BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (lambda value, bound: value >= bound, "must be at least"),
    "maximum": (lambda value, bound: value <= bound, "must be at most"),
    "exclusiveMinimum": (lambda value, bound: value > bound, "must be more than"),
    "exclusiveMaximum": (lambda value, bound: value < bound, "must be less than"),
    "multipleOf": (lambda value, bound: not bound or _is_multiple(value, bound), "must be a multiple of"),
}


def _of_number(value: float, schema: dict[str, Any]) -> Iterator[str]:
    for name, (keeps, text) in _BOUNDS.items():
        if name in schema and not keeps(value, schema[name]):
            yield f"{text} {_shown(schema[name])}"


def _is_multiple(value: float, bound: float) -> bool:
    if isinstance(value, int) and isinstance(bound, int):
        return value % bound == 0
    try:
        times = value / bound
    except OverflowError:
        return True
    return abs(times - round(times)) < 1e-9


def _matches(pattern: str, text: str) -> bool | None:
    """Whether a pattern is found in the text, in time that is linear in both; None: it is written in another way than pydantic reads."""
    found = _pattern(pattern)
    return None if found is None else _passes(found, text)


@lru_cache(maxsize=64)
def _pattern(pattern: str) -> SchemaValidator | None:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return None


@lru_cache
def _format(name: str) -> SchemaValidator:
    return SchemaValidator(_FORMATS[name][0])


def _passes(checks: SchemaValidator, text: str) -> bool:
    try:
        checks.validate_json(orjson.dumps(text))
    except ValidationError:
        return False
    return True
