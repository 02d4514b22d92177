"""Outputs as Python values again: what a model has returned, for the code of another model, which gets it from a record.

An output is written by the aliases for writing, and with what a class computes; it is read here by the same aliases. Files are not opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, core_schema, from_json

from longrun.errors import InvalidOutput
from longrun.jobs import npy
from longrun.jobs.file_refs import FileRef, holds_files, shown_file
from longrun.models.closed import kinds, mapped
from longrun.models.file_schema import Attached
from longrun.models.file_types import Audio, File, Image
from longrun.models.pointers import findings

_FIELDS = frozenset(("model-field", "dataclass-field", "typed-dict-field"))
_CLASSES: tuple[type[File], ...] = (Image, Audio)


class Reader:
    """Reads outputs of one type.

    Args:
        annotation: of the whole output, in which bytes and arrays are what they are written as.
    """

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation

    @cached_property
    def _core(self) -> CoreSchema:
        adapter: TypeAdapter[Any] = TypeAdapter(self._annotation)
        adapter.rebuild(raise_errors=True)
        return adapter.core_schema

    @cached_property
    def _loose(self) -> bool:
        """Whether a file may stand where nothing is said of it."""
        return "any" in kinds(self._core)

    @cached_property
    def _validator(self) -> SchemaValidator | None:
        return None if self._core["type"] == "any" else SchemaValidator(_as_written(self._core), None, False)

    def read(self, data: bytes, attached: Attached | None) -> Any:
        """The value. Raises InvalidOutput: the type does not read what it writes."""
        if npy.is_npy(data):
            data = b"".join(npy.to_json([data]))
        try:
            value = from_json(data) if self._validator is None else self._validator.validate_json(data, context=_Context(attached))
        except ValidationError as error:
            first = findings(error, from_json(data), "/output")[0]
            raise InvalidOutput(
                f"the output cannot be read as its return annotation at {first['pointer']}: {first['detail']}; "
                "annotate what is returned with a type that reads the JSON which it writes"
            ) from error
        return _with_files(value, attached) if self._loose and holds_files(data) else value


class _Context:
    """How the bytes of the files are reached."""

    def __init__(self, attached: Attached | None) -> None:
        self.attached = attached


def _as_written(schema: Any) -> CoreSchema:
    """A copy of a core schema that reads what it writes."""
    metadata = schema.get("metadata") if isinstance(schema, dict) else None
    if isinstance(metadata, Mapping) and "longrun" in metadata:
        cls, _ = metadata["longrun"]
        return core_schema.with_info_plain_validator_function(lambda value, info: _file(cls, value, info.context.attached))
    copy = mapped(schema, _as_written)
    kind = schema.get("type") if isinstance(schema, dict) else None
    if not isinstance(kind, str):
        return copy  # type: ignore[no-any-return]
    if kind in _FIELDS:
        copy.pop("validation_alias", None)
        if "serialization_alias" in schema:
            copy["validation_alias"] = schema["serialization_alias"]
    elif kind in ("model", "dataclass"):
        config = {**schema.get("config", {}), "validate_by_alias": True, "validate_by_name": True}
        if config.get("extra_fields_behavior") == "forbid":
            config["extra_fields_behavior"] = "ignore"  # what it computes is written too
        copy["config"] = config
    return copy  # type: ignore[no-any-return]


def _file(cls: type[File], value: Any, attached: Attached | None) -> File:
    shown = shown_file(value)
    if shown is None:
        raise PydanticCustomError("file", "This is no stored file")
    return cls.stored(shown, attached)


def _with_files(value: Any, attached: Attached | None) -> Any:
    """Lists and objects with the files that stand in them."""
    if isinstance(value, list):
        return [_with_files(each, attached) for each in value]
    if not isinstance(value, dict):
        return value
    shown = shown_file(value)
    return _guessed(shown).stored(shown, attached) if shown else {name: _with_files(each, attached) for name, each in value.items()}


def _guessed(ref: FileRef) -> type[File]:
    return next((cls for cls in _CLASSES if ref.content_type.startswith(f"{cls.kind}/")), File)
