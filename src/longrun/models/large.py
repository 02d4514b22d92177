"""How a large input is checked: with as little as possible held at once, and with the first finding of each list or object.

pydantic builds every error before it shows one, and every value before it gives one back: of four megabytes that may be gigabytes. So the
core schema is changed for inputs that are only checked. Lists stop at their first wrong item, what has been checked is let go where no code
of the author's will see it, and the values are those that JSON decoding gave, so that pydantic makes no tree of its own of the text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, core_schema

from longrun.models.closed import kinds, mapped
from longrun.models.pointers import MOST_FINDINGS

#: Bytes of an input up to which all is shown that is wrong with it, fifty findings at most.
LARGE = 64 * 1024

_STOPPING = frozenset(("list", "tuple", "set", "frozenset", "dict", "deque", "frozendict", "ordereddict", "counter"))
#: Whose items are told apart.
_SETS = frozenset(("set", "frozenset"))
_CLASSES = frozenset(("model", "dataclass", "typed-dict"))
_FUNCTIONS = frozenset(("function-after", "function-wrap", "function-plain", "chain"))
#: Kinds whose checked values are small, or are the values that were given.
_LIGHT = frozenset(("any", "bool", "float", "int", "literal", "none", "nullable", "str"))
#: Kinds that find the same wrong with a value that was decoded as with its text, unless something is strict.
_ALIKE = (
    _STOPPING | _CLASSES | _FUNCTIONS | _LIGHT
    | {"bytes", "date", "datetime", "decimal", "default", "enum", "function-before", "tagged-union", "time", "union"}
    | {"computed-field", "dataclass-args", "dataclass-field", "model-field", "model-fields", "typed-dict-field"}
    | {"definition-ref", "definitions", "no-info", "serialization", "url", "uuid", "with-info"}
)  # fmt: skip


def reads_decoded(core: CoreSchema) -> bool:
    """Whether a schema finds the same wrong with decoded values as with JSON text."""
    of_json = as_json(core)
    return kinds(of_json) <= _ALIKE and not any(_mentions(of_json, name) for name in ("strict", "val_json_bytes"))


def as_json(schema: Any) -> Any:
    if isinstance(schema, dict) and schema.get("type") == "json-or-python":
        return as_json(schema["json_schema"])
    return mapped(schema, as_json)


def _mentions(schema: Any, name: str) -> bool:
    if isinstance(schema, (list, tuple)):
        return any(_mentions(each, name) for each in schema)
    return isinstance(schema, dict) and (bool(schema.get(name)) or any(_mentions(each, name) for each in schema.values()))


def checker(core: CoreSchema, *, decoded: bool, all_places: bool = False) -> SchemaValidator:
    """A validator whose result is worth nothing.

    Args:
        core: what `InputSchema` checks with.
        decoded: it is given decoded values (see `reads_decoded`), not text.
        all_places: do not stop at the first wrong item of a list: something is to be found by its error.
    """
    changes = _Changes(decoded, all_places, _seen_by_code(core))
    return SchemaValidator(changes.of(as_json(core) if decoded else core, seen=_looks_around(core)), None, False)


def _looks_around(schema: Any) -> bool:
    """Whether code of the author's gets more than the value that it stands at: a validator of one field sees those before it."""
    if isinstance(schema, (list, tuple)):
        return any(map(_looks_around, schema))
    if not isinstance(schema, dict) or "longrun" in (schema.get("metadata") or {}):  # a file of ours
        return False
    if schema.get("type") == "with-info" or schema.get("default_factory_takes_data"):
        return True
    return any(map(_looks_around, schema.values()))


def _runs_code(schema: Any) -> bool:
    return schema.get("type") in _FUNCTIONS or bool(schema.get("post_init") or schema.get("custom_init"))


def _seen_by_code(core: Any) -> set[str]:
    """What is described apart, of which the author's code gets values."""
    within: dict[str, set[str]] = {}

    def references(schema: Any, seen: bool, found: set[str]) -> None:
        if isinstance(schema, dict):
            seen = seen or _runs_code(schema)
            if seen and isinstance(ref := schema.get("schema_ref"), str):
                found.add(ref)
        for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, (list, tuple)) else ():
            references(each, seen, found)

    for each in core.get("definitions", ()):
        references(each, True, within.setdefault(each.get("ref", ""), set()))
    left: set[str] = set()
    references(core, False, left)
    found: set[str] = set()
    while left:
        ref = left.pop()
        found.add(ref)
        left |= within.get(ref, set()) - found
    return found


class _Changes:
    def __init__(self, decoded: bool, all_places: bool, seen_refs: set[str]) -> None:
        self._decoded, self._all_places, self._seen_refs = decoded, all_places, seen_refs

    def of(self, schema: Any, *, seen: bool) -> Any:
        """A node of the schema as it is for large inputs. `seen`: whether the author's code gets what is made of it."""
        kind = schema.get("type") if isinstance(schema, dict) else None
        if not isinstance(kind, str):
            return mapped(schema, lambda part: self.of(part, seen=seen))
        inside = seen or _runs_code(schema) or schema.get("ref") in self._seen_refs
        changed = mapped(schema, lambda part: self.of(part, seen=inside))
        if kind in _STOPPING:
            if not self._all_places:
                changed["fail_fast"] = True
            for part in ("items_schema", "values_schema"):
                if part in changed:
                    changed[part] = _after_each(changed[part], _itself if inside or kind in _SETS else _nothing)
            if kind == "list" and not inside and kinds(changed.get("items_schema")) <= _LIGHT:
                changed = outside(changed, lambda scalars: core_schema.no_info_after_validator_function(_nothing, scalars))
        return _with_few_members(changed) if kind in _CLASSES and self._decoded else changed


def _after_each(items: Any, then: Callable[[Any], Any]) -> Any:
    """The schema of items, or of each item of a tuple, after which Python is called; not where that would be most of the work."""
    if isinstance(items, list):
        return [_after_each(each, then) for each in items]
    return items if kinds(items) <= _LIGHT else core_schema.no_info_after_validator_function(then, items)


def _nothing(value: Any) -> None:
    """What is left of an item that was checked."""


def _itself(value: Any) -> Any:
    """The item. That Python is called is all: it lets other threads run."""
    return value


def _with_few_members(schema: Any) -> CoreSchema:
    """A class that is refused as a whole where it gets many members that it does not know: each would be an error."""
    fields = _fields(schema)
    if fields is None:
        return schema  # type: ignore[no-any-return]
    few = _few(2 * fields + MOST_FINDINGS)
    return outside(schema, lambda inner: core_schema.no_info_before_validator_function(few, inner))


def outside(schema: Any, around: Callable[[Any], Any]) -> CoreSchema:
    """What `around` makes of a schema, in its place: others refer to it as they did to the schema."""
    ref = schema.pop("ref", None)
    made = around(schema)
    return {**made, "ref": ref} if ref else made


def _fields(schema: Any) -> int | None:
    """How many fields a class has; None: members beside them are allowed, or it is not known which they are."""
    inner = schema
    while isinstance(inner, dict) and "fields" not in inner:
        inner = inner.get("schema")
    if inner is None:
        return None
    behaviour = inner.get("extra_behavior") or (schema.get("config") or {}).get("extra_fields_behavior")
    return len(inner["fields"]) if behaviour == "forbid" else None


def _few(most: int) -> Callable[[Any], Any]:
    def few(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > most:
            raise PydanticCustomError("too_many_members", "It has {count} members; most of them are no fields", {"count": len(value)})
        return value

    return few
