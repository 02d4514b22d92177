"""The schemas that the OpenAPI document names."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from pydantic import BaseModel

from longrun.api.http.routing import Shape

Schema = dict[str, Any]
_ROOT = "#/components/schemas/"
_DEFINITION = "#/$defs/"


def ref(name: str) -> Schema:
    """A reference to a component."""
    return {"$ref": _ROOT + name}


class Components:
    """Components by name; a class becomes one, and those it is made of, when it is first asked for."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}

    def schema(self, shape: Shape) -> Schema:
        """The schema of a body: a reference for a class."""
        if not isinstance(shape, type):
            return dict(shape)
        if shape.__name__ not in self.schemas:
            self.schemas |= _pydantic(shape) if issubclass(shape, BaseModel) else _struct(shape)
        return ref(shape.__name__)

    def hoisted(self, schema: Any, name: str) -> Schema:
        """Make a component of an author's schema; its `$defs` become components that are named after it."""
        if isinstance(schema, dict):
            names = {each: f"{name}_{re.sub(r'[^A-Za-z0-9._-]', '_', each)}" for each in schema.get("$defs", {})}
            self.schemas |= {names[each]: _relinked(definition, names) for each, definition in schema.get("$defs", {}).items()}
            schema = _relinked({key: value for key, value in schema.items() if key != "$defs"}, names)
        self.schemas[name] = schema
        return ref(name)

    def resolved(self, schema: Schema) -> Schema:
        """The schema itself where it is only a reference."""
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].removeprefix(_ROOT)]
        return schema


def _struct(shape: type) -> dict[str, Schema]:
    schemas: dict[str, Schema] = msgspec.json.schema_components([shape], ref_template=_ROOT + "{name}")[1]
    return schemas


def _pydantic(shape: type[BaseModel]) -> dict[str, Schema]:
    schema = shape.model_json_schema(ref_template=_ROOT + "{model}")
    return {**schema.pop("$defs", {}), shape.__name__: schema}


def _relinked(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_relinked(each, names) for each in node]
    if isinstance(node, str) and node.startswith(_DEFINITION) and node.removeprefix(_DEFINITION) in names:
        return _ROOT + names[node.removeprefix(_DEFINITION)]
    if isinstance(node, dict):
        # What an author gives as data is no schema, whatever it looks like.
        return {key: value if key in ("default", "const", "enum", "examples") else _relinked(value, names) for key, value in node.items()}
    return node
