"""Unions that contain themselves and do not say which of their classes a value is: what one validation of them may cost.

pydantic tries each class of a union at each level, so that its work doubles with every level of `Left | Right` whose fields hold
`Left | Right` again. Whether it does is a matter of the input: in honest trees most classes are ruled out at once. So the work is counted
while it is done, and given up when it is out of all proportion to the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from functools import cached_property
from typing import Any

from pydantic_core import CoreSchema, SchemaValidator, core_schema

from longrun.models.closed import OPAQUE, mapped
from longrun.models.large import LARGE, as_json, checker, outside

_LISTS = frozenset(("list", "tuple", "set", "frozenset", "generator"))
_OBJECTS = frozenset(("call", "dataclass", "dict", "model", "typed-dict"))
#: What is counted for a list or object that is looked at, for each item of a list, and for each member of an object.
_VISIT, _ITEM, _MEMBER = 25, 2, 1
#: Characters of a text that cost as much as a value.
_TEXT = 16
#: What any input may cost, and each byte of it for each choice of the largest union: the three of `{},` in a list cost 27.
_SMALLEST, _PER_BYTE = 120_000, 10

#: Classes that a value may be tried as before an input of half the size takes longer than a plain one of `LARGE`.
FEW_TRIES = 3

_left: ContextVar[list[int]] = ContextVar("longrun_left")


class TooManyWays(Exception):
    """No ValueError: pydantic would make an error of it, and try the next choice."""


def most_tries(core: CoreSchema) -> int:
    """How many classes one value may be tried as: choices of a union, times those of unions within; a union within itself is one."""
    described, within = _graph(core)
    known: dict[str, int] = {}

    def tries(schema: Any, inside: frozenset[str] = frozenset()) -> int:
        if isinstance(schema, (list, tuple)):
            return max((tries(each, inside) for each in schema), default=1)
        if not isinstance(schema, dict):
            return 1
        if schema.get("type") == "definition-ref":
            ref = schema["schema_ref"]
            if ref not in known:
                known[ref] = 1
                known[ref] = tries(described.get(ref), inside | {ref})
            return known[ref]
        opaque = OPAQUE if isinstance(schema.get("type"), str) else ()
        inner = max((tries(each, inside) for name, each in schema.items() if name not in opaque), default=1)
        if schema.get("type") != "union":
            return inner
        number, repeats = len(schema["choices"]), inside & _reached(_references(schema), within)
        return max(number, inner) if repeats else number * inner

    return tries(core.get("schema") if core["type"] == "definitions" else core)


def ambiguous(core: CoreSchema) -> set[str]:
    """The descriptions in which a union is ambiguous and leads back to itself, and all that these refer to."""
    described, within = _graph(core)
    found = {
        ref
        for ref, each in described.items()
        if any(_repeats(union["choices"], ref, described, within) for union in _nodes(each) if union["type"] == "union")
    }
    return _reached(found, within)


class Ways:
    """The limit of what is done for one input.

    Args:
        core: what `InputSchema` checks with; something in it is `ambiguous`.
        context: for the author's validators.
    """

    def __init__(self, core: CoreSchema, context: Any) -> None:
        self._core, self._context = core, context
        refs = ambiguous(core)
        inside = [each for each in core.get("definitions", ()) if each["ref"] in refs]
        self._choices = max(len(union["choices"]) for union in _nodes(inside) if union["type"] == "union")

    def limit(self, data: Any, size: int) -> None:
        """Raise TooManyWays if a validator that does not count would do too much; what else is wrong is for that to find.

        Args:
            data: the input as JSON decoding gives it.
            size: its bytes as JSON.
        """
        self.check(self._large if size > LARGE else self._small, data, size, self._context)

    def check(self, counts: SchemaValidator, data: Any, size: int, context: Any) -> Exception | None:
        """What a validator of a schema made by `counting` raises; TooManyWays is raised, also where the author's code has caught it."""
        _left.set(left := [_SMALLEST + _PER_BYTE * self._choices * size])
        error = None
        try:
            counts.validate_python(data, context=context)
        except Exception as found:
            error = found
        if left[0] < 0:
            raise TooManyWays
        return error

    @cached_property
    def _small(self) -> SchemaValidator:
        return SchemaValidator(counting(as_json(_lenient(self._core))), None, False)

    @cached_property
    def _large(self) -> SchemaValidator:
        return checker(counting(_lenient(self._core)), decoded=True)


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, (list, tuple)):
        for each in schema:
            yield from _nodes(each)
    elif isinstance(schema, dict):
        typed = isinstance(schema.get("type"), str)
        if typed:
            yield schema
        for name, each in schema.items():
            if not typed or name not in OPAQUE:
                yield from _nodes(each)


def _graph(core: CoreSchema) -> tuple[dict[str, Any], dict[str, set[str]]]:
    """What is described apart, by name, and which of these each refers to."""
    described = {each["ref"]: each for each in core.get("definitions", ())}
    return described, {ref: _references(each) for ref, each in described.items()}


def _references(schema: Any) -> set[str]:
    return {each["schema_ref"] for each in _nodes(schema) if each["type"] == "definition-ref"}


def _repeats(choices: list[Any], ref: str, described: dict[str, Any], within: dict[str, set[str]]) -> bool:
    """Whether two choices that may be taken for each other lead back to what the union stands in."""
    shapes = [_shape(each, described) for each in choices if ref in _reached(_references(each), within)]
    return any(shapes.count(shape) > 1 for shape in ("list", "object")) or ("any" in shapes and len(shapes) > 1)


def _reached(left: set[str], within: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    while left := left - found:
        found |= left
        left = set().union(*(within.get(each, set()) for each in left))
    return found


def _shape(choice: Any, described: dict[str, Any]) -> str:
    """What JSON a choice is made of: a list, an object, or any."""
    schema = choice[0] if isinstance(choice, tuple) else choice
    passed = set()
    while schema.get("type") in ("definition-ref", "nullable", "default") or schema.get("root_model"):
        if schema["type"] == "definition-ref":
            if schema["schema_ref"] in passed:
                return "any"
            passed.add(schema["schema_ref"])
        schema = described.get(schema["schema_ref"], {}) if schema["type"] == "definition-ref" else schema["schema"]
    kind = schema.get("type")
    return "list" if kind in _LISTS else "object" if kind in _OBJECTS else "any"


def _lenient(schema: Any) -> Any:
    """A copy of a core schema without `strict`: it takes decoded values as it would their text, and tries no less."""
    if isinstance(schema, dict):
        schema = {name: part for name, part in schema.items() if name != "strict" or not isinstance(part, bool)}
        if isinstance(config := schema.get("config"), dict):
            schema["config"] = {name: part for name, part in config.items() if name != "strict"}
    return mapped(schema, _lenient)


def counting(core: CoreSchema) -> CoreSchema:
    """A copy of a core schema that counts the lists and objects it looks at where it is `ambiguous`; used by `Ways` alone."""
    refs = ambiguous(core)
    counted = [_counting(each) if each["ref"] in refs else each for each in core.get("definitions", ())]
    return {**core, "definitions": counted}


def _counting(schema: Any) -> Any:
    changed = mapped(schema, _counting)
    if not isinstance(schema, dict) or not isinstance(kind := schema.get("type"), str) or kind not in _LISTS | _OBJECTS | {"json"}:
        return changed
    return outside(changed, lambda inner: core_schema.no_info_before_validator_function(_count, inner))


def _count(value: Any) -> Any:
    left = _left.get()
    left[0] -= _cost(value)
    if left[0] < 0:
        raise TooManyWays
    return value


def _cost(value: Any) -> int:
    if isinstance(value, dict):
        return _VISIT + _MEMBER * len(value) + (sum(map(len, value)) + _text(value.values())) // _TEXT
    if isinstance(value, list):
        return _VISIT + _ITEM * len(value) + _text(value) // _TEXT
    return _VISIT + (len(value) // _TEXT if isinstance(value, str) else 0)


def _text(values: Any) -> int:
    return sum(len(each) for each in values if type(each) is str)
