"""How pydantic reads files in inputs and writes them in outputs, and what an annotation allows of them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote_to_bytes

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from longrun.clock import is_file_id
from longrun.jobs.file_refs import FileRef
from longrun.media.rules import FileRule
from longrun.models.closed import mapped
from longrun.models.pointers import MOST_RENDERED, pointer, shorten

#: Where the JSON Schema of a file says what is allowed.
MARK = "x-longrun-file"
#: Kind of the error that says where a file stands (see `Looking`).
PLACE = "longrun_file_place"
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*(;base64)?,", re.IGNORECASE)
#: Characters of a `data:` URI before its data, and of a piece of these.
_LONGEST_HEAD, _PIECE = 1024, 64 * 1024
_PATTERN = r"^(file_[0-9a-f]{32}$|data:|https?://)"
_HOW = "a file id (file_…) or a data: URI, or upload it with multipart/form-data"


class Attached(Protocol):
    """How the bytes of stored files are reached in this process."""

    def open(self, ref: FileRef) -> BinaryIO:
        """The bytes: seekable, for reading only."""

    def path(self, ref: FileRef, suffix: str) -> Path:
        """A copy on disk whose name ends in `suffix`; it is removed when the job ends."""


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Where a file stands in an input.

    Args:
        path: keys and indexes that lead to it.
        source: what stands there: a file id, a `data:` URI or a URL.
        rules: it must keep to one of these (more than one where the type is a union).
    """

    path: tuple[str | int, ...]
    source: str
    rules: tuple[FileRule, ...]

    @property
    def pointer(self) -> str:
        """As a JSON pointer."""
        return shorten(pointer("/input", self.path))


class TooManyFiles(Exception):
    """More than anybody looks at. No ValueError: pydantic would make one more error of it, and go on."""


class Anything:
    """Context of a pass that asks what else is wrong: whatever looks like a file is one."""


class Looking:
    """Context of a first pass: every file is answered with an error, for only errors tell where they stand."""

    def __init__(self) -> None:
        self.found: list[tuple[str, FileRule]] = []

    def here(self, source: str, rule: FileRule) -> PydanticCustomError:
        """There is a file. Raises TooManyFiles."""
        if len(self.found) == MOST_RENDERED:
            raise TooManyFiles(f"It names more than {MOST_RENDERED:,} files")
        self.found.append((source, rule))
        return PydanticCustomError(PLACE, "a file", {"number": len(self.found) - 1})


@dataclass(frozen=True, slots=True)
class Known:
    """Context of the pass that makes the value: the files by id, and how their bytes are reached."""

    files: Mapping[str, FileRef]
    attached: Attached | None = None


def core_schema_of(cls: type[Any], rule: FileRule) -> CoreSchema:
    """How pydantic checks and writes a file. `cls`: `File`, `Image` or `Audio`, whose module stands on this one."""

    def from_json(value: Any, info: Any) -> Any:
        if not isinstance(value, str):
            raise PydanticCustomError("file", f"A file is given as {_HOW}")
        if isinstance(info.context, Looking | Anything):
            if not re.match(_PATTERN, value):
                raise PydanticCustomError("file", f"This is no file: give {_HOW}")
            if isinstance(info.context, Anything):
                return None
            raise info.context.here(value, rule)
        if isinstance(info.context, Known):
            ref = info.context.files.get(value)
            if ref is None:
                raise PydanticCustomError("file", "There is no such file")
            return cls.stored(ref, info.context.attached, rule)
        return from_text(value)

    def from_text(value: str) -> Any:
        if is_file_id(value):
            return cls.stored(FileRef(value, value, 0, ""), None, rule)
        decoded = read_data_uri(value)
        if decoded is None:
            raise PydanticCustomError("file", f"This is no file: give {_HOW}")
        return cls(decoded[0], content_type=decoded[1])

    def from_python(value: Any) -> Any:
        if isinstance(value, str):
            return from_text(value)
        made = cls.of(value)
        if made is None:
            raise PydanticCustomError("file", f"{type(value).__name__} is no {cls.__name__}")
        return made

    return core_schema.json_or_python_schema(
        json_schema=core_schema.with_info_plain_validator_function(from_json),
        python_schema=core_schema.no_info_plain_validator_function(from_python),
        serialization=core_schema.plain_serializer_function_ser_schema(lambda file: file.as_json(), when_used="json"),
        metadata={"longrun": (cls, rule)},
    )


def files_first(schema: Any) -> Any:
    """A copy of a core schema in which a text that names a file is one, also where any text may stand (`File | str`)."""
    copy = mapped(schema, files_first)
    if isinstance(schema, dict) and schema.get("type") == "union" and any(map(_is_file, schema["choices"])):
        copy["choices"] = [each if _is_file(each) else _beside_files(each) for each in copy["choices"]]
    return copy


def _is_file(choice: Any) -> bool:
    schema = choice[0] if isinstance(choice, tuple) else choice
    return "longrun" in schema.get("metadata", {})


def _beside_files(choice: Any) -> Any:
    if isinstance(choice, tuple):
        return _beside_files(choice[0]), choice[1]
    return core_schema.no_info_before_validator_function(_no_file, choice)


def _no_file(value: Any) -> Any:
    if isinstance(value, str) and (is_file_id(value) or _DATA_URI.match(value, 0, _LONGEST_HEAD)):
        raise PydanticCustomError("file", "This is a file")
    return value


def json_schema_of(cls: type[Any], rule: FileRule, *, output: bool) -> dict[str, Any]:
    """How a file is described to callers."""
    if output:
        text, whole = {"type": "string"}, {"type": "integer", "minimum": 0}
        members = {"id": text, "url": text, "content_type": text, "size": whole, "digest": text, "name": text}
        return {
            "type": "object",
            "title": cls.__name__,
            "properties": members,
            "required": ["id", "url", "content_type", "size", "digest"],
            "description": "A stored file; `url` opens for whoever has it, and for a while only.",
        }
    allowed = {name: list(value) if name == "formats" else value for name, value in asdict(rule).items() if value not in (None, ())}
    return {"type": "string", "title": cls.__name__, "pattern": _PATTERN, "description": f"The {rule.kind}: {_HOW}.", MARK: allowed}


def rule_from_json(members: Mapping[str, Any]) -> FileRule:
    """The rule that a JSON Schema shows."""
    return FileRule(**{**members, "formats": tuple(members.get("formats", ()))})


def file_rules(properties: Mapping[str, Any]) -> dict[str, tuple[FileRule, bool]]:
    """The fields that are files: what is allowed, and whether it is a list of files. Of a union what any of its members allows."""
    found: dict[str, list[tuple[FileRule, bool]]] = {}
    for name, schema in properties.items():
        for option in _options(schema):
            for many, each in ((False, option), *((True, inner) for inner in _options(option.get("items")))):
                if MARK in each:
                    found.setdefault(name, []).append((rule_from_json(each[MARK]), many))
    return {name: (any_of([rule for rule, _ in several]), any(many for _, many in several)) for name, several in found.items()}


def any_of(rules: Sequence[FileRule]) -> FileRule:
    """One rule that refuses nothing that one of these allows; where there are several, which of them holds is judged at the end."""
    return rules[0] if len(set(rules)) == 1 else FileRule(max_bytes=max(rule.max_bytes for rule in rules))


def _options(schema: Any) -> list[dict[str, Any]]:
    if not isinstance(schema, dict):
        return []
    return [schema, *(each for each in schema.get("anyOf", ()) if isinstance(each, dict))]


def read_data_uri(text: str) -> tuple[bytes, str] | None:
    """The bytes and the type that a `data:` URI says (RFC 2397); None: it is none, or its base64 is wrong."""
    found = _DATA_URI.match(text, 0, _LONGEST_HEAD)
    if found is None:
        return None
    body, kind = text[found.end() :], (found[1] or "").lower()
    if not found[2]:
        return _unquoted(body), kind
    try:
        return base64.b64decode(_unquoted(body), validate=True), kind
    except (binascii.Error, ValueError):
        return None


def _unquoted(text: str) -> bytes:
    """Piece by piece: `unquote_to_bytes` needs a hundred bytes of memory for each escape."""
    pieces, start = [], 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text) and (escape := text.find("%", end - 2, end)) >= 0:
            end = escape  # which the next piece has whole
        pieces.append(unquote_to_bytes(text[start:end]))
        start = end
    return b"".join(pieces)
