"""Schemas in which unknown fields are refused at every level, unless a class says otherwise.

pydantic ignores unknown fields by default, so a misspelt option would be dropped without a word. Its own switch
(`validate_json(extra="forbid")`) also overrules a class that sets `extra` itself; so the core schema is changed instead,
only where the author said nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

#: Parts of a core schema that hold no schemas; a default may look like one.
OPAQUE = frozenset(("cls", "config", "default", "expected", "metadata", "serialization"))
_WITH_CONFIG = frozenset(("model", "dataclass"))
_CLASSES = frozenset(("typed-dict", "call"))  # that do not name theirs in every version of pydantic; `call` makes a named tuple


def mapped(schema: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of a node of a core schema, or of a list or dict of nodes, with `change` made to all that may hold schemas."""
    if isinstance(schema, (list, tuple)):
        return type(schema)(change(each) for each in schema)
    if not isinstance(schema, dict):
        return schema
    # A dict without a type holds fields by name, and a field may be called `default`.
    kept = OPAQUE if isinstance(schema.get("type"), str) else ()
    return {name: part if name in kept else change(part) for name, part in schema.items()}


def closed(schema: Any) -> Any:
    """A copy of a core schema whose models, dataclasses and typed dicts refuse unknown fields."""
    copy = mapped(schema, closed)
    kind = schema.get("type") if isinstance(schema, dict) else None
    if not isinstance(kind, str):
        return copy
    if kind in _WITH_CONFIG:
        copy["config"] = {"extra_fields_behavior": "forbid", **schema.get("config", {})}
    elif kind == "typed-dict" and "extra" not in getattr(schema.get("cls"), "__pydantic_config__", {}):
        copy["extra_behavior"] = "forbid" if schema.get("extra_behavior", "ignore") == "ignore" else schema["extra_behavior"]
    return copy


def inlined(schema: CoreSchema) -> CoreSchema:
    """A copy of a core schema in which what pydantic describes once, for an alias that stands in several places, stands in each of them.

    Classes stay descriptions of their own, and so does what contains itself.
    """
    if schema["type"] != "definitions":
        return schema
    known = {each["ref"]: each for each in schema["definitions"] if "cls" not in each and each["type"] not in _CLASSES}

    def replaced(part: Any, inside: tuple[str, ...] = ()) -> Any:
        ref = part["schema_ref"] if isinstance(part, dict) and part.get("type") == "definition-ref" else ""
        if ref in known and ref not in inside:
            return replaced({name: value for name, value in known[ref].items() if name != "ref"}, (*inside, ref))
        return mapped(part, lambda each: replaced(each, inside))

    return replaced(schema)  # type: ignore[no-any-return]


def kinds(schema: Any) -> set[str]:
    """The kinds of the nodes of a core schema (`str`, `list`, `model`, …).

    A list or dict of anything counts as `any` too, and a serializer of the author's as `serialization`.
    """
    if isinstance(schema, (list, tuple)):
        return set().union(*map(kinds, schema))
    if not isinstance(schema, dict):
        return set()
    kind = schema.get("type")
    if not isinstance(kind, str):
        return set().union(*map(kinds, schema.values()))
    found = {kind}.union(*(kinds(part) for name, part in schema.items() if name not in OPAQUE))
    if "serialization" in schema:
        found.add("serialization")
    if kind in ("list", "tuple", "set", "frozenset", "dict") and not {"items_schema", "values_schema"} & schema.keys():
        found.add("any")
    return found


class SchemaGenerator(GenerateJsonSchema):
    """JSON Schema 2020-12 of a core schema, `additionalProperties: false` where the core schema refuses unknown fields."""

    # A default that JSON cannot hold is left out of the schema; it works all the same, and the author cannot act on the warning.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic declares it as an instance variable

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """As pydantic's, closed where the core schema is."""
        return _state_closed(super().model_schema(schema), schema)

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """As pydantic's, closed where the core schema is."""
        return _state_closed(super().dataclass_schema(schema), schema)


def json_schema(schema: CoreSchema, *, output: bool = False) -> dict[str, Any]:
    """The JSON Schema of a core schema, its `$defs` inside.

    Args:
        schema: the core schema.
        output: describe what is written, not what is read.

    Raises:
        PydanticInvalidForJsonSchema: a type has no JSON form.
    """
    return SchemaGenerator().generate(schema, mode="serialization" if output else "validation")


def _state_closed(found: JsonSchemaValue, schema: core_schema.ModelSchema | core_schema.DataclassSchema) -> JsonSchemaValue:
    if found.get("type") == "object" and schema.get("config", {}).get("extra_fields_behavior") == "forbid":
        found.setdefault("additionalProperties", False)
    return found
