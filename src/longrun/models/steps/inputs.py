"""The input of a step: from an author's Python values to JSON that the model's schema allows, and the files in it by their ids."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from pydantic import AliasChoices, BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from longrun.clock import is_file_id
from longrun.errors import InvalidOutput, ValidationFailed
from longrun.jobs.file_refs import FileRef
from longrun.models.file_schema import FilePlace, read_data_uri
from longrun.models.file_types import File, as_file
from longrun.models.jsonable import MAX_DEPTH, as_list
from longrun.models.schema import InputSchema

#: Stores a file that is not stored yet.
Store = Callable[[File], FileRef]


@dataclass(frozen=True, slots=True)
class StepInput:
    """An input as it is sent.

    Args:
        text: JSON.
        files: ids of the files that it names.
        digest: 12 hex digits; the same for the same content, whoever stored its files.
    """

    text: bytes
    files: tuple[str, ...]
    digest: str


def step_input(group: str, schema: InputSchema, value: Any, store: Store) -> StepInput:
    """An input for a model.

    Args:
        group: the model's name.
        schema: its input.
        value: a mapping or a BaseModel; it may hold files of any kind, also as bytes, paths and Pillow images.
        store: is called for each file that is not stored yet.

    Raises:
        ValidationFailed: the model does not allow it, or JSON cannot hold it.
    """
    dump = _Dump(store)
    data = dump.value(value)
    places: list[FilePlace] = []
    if schema.has_files:
        places = schema.file_places(data)
        for place in places:
            _put(data, place.path, dump.file_at(place))
    text = _json(data)
    if not places:
        schema.check(data, text)
        return StepInput(text, (), content_digest(group, data))
    sources = [_at(data, place.path) for place in places]
    for place, source in zip(places, sources, strict=True):
        _put(data, place.path, dump.digests.get(source, source))
    return StepInput(text, tuple(dict.fromkeys(sources)), content_digest(group, data))


def arguments_digest(group: str, arguments: Any) -> str:
    """The digest of what a function is called with; empty: it cannot be told, for JSON does not hold it."""
    dump = _Dump(_refuse)
    try:
        data = dump.value(arguments)
        return content_digest(group, _with_digests(data, dump.digests))
    except Exception:
        # Whatever an author's objects raise when they are looked at: they are then not compared.
        return ""


def content_digest(group: str, data: Any) -> str:
    """12 hex digits of SHA-256 over what a step is and its input, keys in order."""
    return sha256(_json([group, data], sort=True)).hexdigest()[:12]


class _Dump:
    """Turns values into JSON's; remembers the files by their ids."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.digests: dict[str, str] = {}
        self._done: dict[int, tuple[Any, str]] = {}

    def value(self, value: Any, depth: int = 0) -> Any:
        """Raises ValidationFailed."""
        if value is None or type(value) in (str, bool, int):
            return value
        if depth > MAX_DEPTH:
            raise _no(f"it is nested over {MAX_DEPTH} deep, or contains itself")
        try:
            value = as_list(value)
        except InvalidOutput as error:
            raise _no(error.detail) from error
        if isinstance(value, float):
            if not math.isfinite(value):
                raise _no("JSON has no NaN and no infinity")
            return float(value)
        if isinstance(value, Enum):
            return self.value(value.value, depth)
        if isinstance(value, bool | int | str):
            return to_jsonable_python(value)
        file = File(value) if isinstance(value, Path) else as_file(value)
        return self._composite(value, depth + 1) if file is None else self._file(file)

    def _composite(self, value: Any, depth: int) -> Any:
        if isinstance(value, RootModel):
            return self.value(value.root, depth)
        if isinstance(value, BaseModel):
            return self._model(value, depth)
        if is_dataclass(value) and not isinstance(value, type):
            return {each.name: self.value(getattr(value, each.name), depth) for each in fields(value)}
        if isinstance(value, Mapping):
            return {_key(key): self.value(each, depth) for key, each in value.items()}
        if isinstance(value, Sequence):
            return [self.value(each, depth) for each in value]
        if isinstance(value, Set):  # in an order that is the same in each process: the input has to be
            return sorted((self.value(each, depth) for each in value), key=_json)
        try:
            return to_jsonable_python(value)
        except Exception as error:
            raise _no(f"a {type(value).__name__} has no form in JSON") from error

    def _model(self, value: BaseModel, depth: int) -> dict[str, Any]:
        """All that a model holds, by the names under which it is read; also what is at its default, which may be another one elsewhere."""
        known = type(value).model_fields
        members = {_alias(name, field): self.value(getattr(value, name), depth) for name, field in known.items()}
        return members | {name: self.value(each, depth) for name, each in (value.model_extra or {}).items()}

    def _file(self, file: File) -> str:
        if file.ref is None:
            source = file.source
            if id(source) not in self._done:
                ref = self._store(file)
                self._done[id(source)] = source, self._known(ref)
            return self._done[id(source)][1]
        return self._known(file.ref)

    def _known(self, ref: FileRef) -> str:
        self.digests[ref.id] = ref.digest or ref.id
        return ref.id

    def file_at(self, place: FilePlace) -> str:
        """The id of what stands where the schema has a file; a `data:` URI is stored."""
        if is_file_id(place.source):
            self.digests.setdefault(place.source, place.source)
            return place.source
        decoded = read_data_uri(place.source)
        if decoded is None:
            raise _no("a file is given as a File, bytes, a path or a file id; a URL is fetched by the API alone", place.pointer)
        return self._file(File(decoded[0], content_type=decoded[1]))


def _alias(name: str, field: FieldInfo) -> str:
    """The name under which a field is read."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = next((each for each in alias.choices if isinstance(each, str)), None)
    return alias if isinstance(alias, str) else field.alias or name


def _key(key: Any) -> str:
    key = key.value if isinstance(key, Enum) else key
    found = to_jsonable_python({key: None})
    return str(next(iter(found)))


def _at(data: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        data = data[part]
    return data


def _put(data: Any, path: Sequence[str | int], value: Any) -> None:
    _at(data, path[:-1])[path[-1]] = value


def _with_digests(data: Any, digests: Mapping[str, str]) -> Any:
    if isinstance(data, dict):
        return {name: _with_digests(each, digests) for name, each in data.items()}
    if isinstance(data, list):
        return [_with_digests(each, digests) for each in data]
    return digests.get(data, data) if isinstance(data, str) else data


def _json(data: Any, *, sort: bool = False) -> bytes:
    try:
        return orjson.dumps(data, option=orjson.OPT_SORT_KEYS if sort else None)
    except TypeError:  # whole numbers over 64 bits, or half a character
        try:
            return json.dumps(data, ensure_ascii=False, sort_keys=sort, separators=(",", ":")).encode()
        except ValueError as error:
            raise _no("a text holds half a character, which JSON does not") from error


def _refuse(_: File) -> FileRef:
    raise ValueError("it is not stored")


def _no(detail: str, pointer: str = "/input") -> ValidationFailed:
    return ValidationFailed(f"{pointer}: {detail}", errors=[{"pointer": pointer, "detail": detail}])
