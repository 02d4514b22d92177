"""Turns `key=value` words into a model's input, and an example input into words, by its schema (JSON Schema 2020-12).

Pure, except that `key=@file` reads a text file, and an answer may come from stdin.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

Schema = dict[str, Any]

_EXAMPLES_BY_FORMAT = {
    "date-time": "2026-01-31T09:30:00Z",
    "date": "2026-01-31",
    "time": "09:30:00Z",
    "duration": "PT1M",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "someone@example.com",
    "uri": "https://example.com/",
}
_DEEPEST = 8  # a schema may refer to itself
_FILE = "x-longrun-file"  # where a schema says that a field is a file


def parse_assignments(words: Sequence[str], schema: Schema) -> dict[str, Any]:
    """The input that `key=value` words describe.

    A field that accepts a string takes the value as it stands, any other field takes it as JSON. `key=@file` reads the value
    from a text file, `key=@@text` is the text `@text`. A field that is a file takes `key=@file` as that file, whatever is in it, and what
    else is given as its id, URL or `data:` URI; a list of files may be given word by word.

    Args:
        words: such as `text=hello`, `max_tokens=30`, `tags=["a"]`, `text=@story.txt`, `image=@cat.jpg`.
        schema: the model's input schema; fields that it does not have are JSON if they can be read as such, else text
            (the server says what is wrong with them).

    Raises:
        ValueError: a word has no `=`, a file cannot be read, or a value is not the JSON that its field needs.
    """
    fields: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key or not equals:
            raise ValueError(f"{word!r} is not key=value")
        field = schema.get("properties", {}).get(key, {})
        takes = file_field(field, schema)
        if takes == "many" and not text.startswith("["):
            fields[key] = [*fields.get(key, []), _file(key, text)]
            continue
        if key in fields:
            raise ValueError(f"{key} is given twice")
        fields[key] = _file(key, text) if takes == "one" else _value(key, _text(key, text), field, schema)
    return fields


def read_value(text: str, schema: Schema) -> Any:
    """The one value that VALUE, @FILE (a text file) or - (stdin) describes: as the values of `parse_assignments`.

    Raises:
        ValueError: a file cannot be read, or the value is not the JSON that the schema asks for.
    """
    try:
        return _value("VALUE", sys.stdin.read() if text == "-" else _text("VALUE", text), schema, schema)
    except UnicodeDecodeError:
        raise ValueError("VALUE: stdin is not a UTF-8 text") from None


def file_field(field: Schema, root: Schema, depth: int = 0) -> Literal["one", "many", ""]:
    """Whether a field is a file, or a list of files."""
    if depth > _DEEPEST:
        return ""
    if "$ref" in field:
        return file_field(_resolve(field["$ref"], root), root, depth + 1)
    if _FILE in field:
        return "one"
    if isinstance(field.get("items"), dict) and file_field(field["items"], root, depth + 1) == "one":
        return "many"
    found = [file_field(option, root, depth + 1) for option in field.get("anyOf", ())]
    return next((each for each in found if each), "")


def read_json(text: str) -> Any:
    """JSON as RFC 8259 has it: without `NaN` and `Infinity`, which Python's reader would take.

    Raises:
        ValueError: it is not JSON.
    """

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def example_input(schema: Schema) -> dict[str, Any]:
    """A small input that the schema accepts: what is required, or the first field when nothing is.

    The author's own examples and defaults come first. Rules that need understanding (`pattern`) are not followed.
    """
    shown = _own_example(schema)
    if isinstance(shown, dict):
        return shown
    fields: Schema = schema.get("properties", {})
    names = schema.get("required") or list(fields)[:1]
    found = {name: _example(fields.get(name, {}), schema, name, 0) for name in names}
    return {name: value if _are_files(value) else _with_ids(value) for name, value in found.items()}


def _are_files(value: Any) -> bool:
    """Whether it can be given as `key=@file`."""
    return isinstance(value, Path) or (isinstance(value, list) and bool(value) and all(isinstance(each, Path) for each in value))


def _with_ids(value: Any) -> Any:
    """The value with ids in place of files: files inside an object are uploaded first."""
    if isinstance(value, dict):
        return {name: _with_ids(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_ids(each) for each in value]
    return "file_ID" if isinstance(value, Path) else value


def command_line(model: str, fields: dict[str, Any], *options: str) -> str:
    """The `longrun run` command that submits `fields`, quoted for a shell."""
    return shlex.join(["longrun", "run", model, *_words(fields, _word), *options])


def curl_words(fields: dict[str, Any]) -> str:
    """The words with which curl submits `fields`, quoted for a shell: a form where files are among them, else JSON."""
    if any(map(_are_files, fields.values())):
        return shlex.join(word for part in _words(fields, _form_word) for word in ("-F", part))
    body = shlex.quote(json.dumps({"input": fields}, ensure_ascii=False))
    return f"-H 'Content-Type: application/json' -d {body}"


def _words(fields: dict[str, Any], word: Callable[[Any], str]) -> list[str]:
    """`key=value` for each field; of a list of files for each of them."""
    pairs: list[str] = []
    for key, value in fields.items():
        pairs += [f"{key}={word(each)}" for each in (value if isinstance(value, list) and _are_files(value) else [value])]
    return pairs


def _form_word(value: Any) -> str:
    if isinstance(value, Path):
        return f"@{value}"
    return f"{json.dumps(value, ensure_ascii=False)};type=application/json"


def _word(value: Any) -> str:
    if isinstance(value, Path):
        return f"@{value}"
    if isinstance(value, str):
        return f"@{value}" if value.startswith("@") else value
    return json.dumps(value, ensure_ascii=False)


def _text(key: str, text: str) -> str:
    if not text.startswith("@"):
        return text
    if text.startswith("@@"):
        return text[1:]
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{key}: {text[1:]} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{key}: {text[1:]} is not a UTF-8 text") from None


def _file(key: str, text: str) -> Any:
    """A path, or the text that names a file which the server has or fetches."""
    if not text.startswith("@"):
        return text
    path = Path(text[1:])
    if not path.exists() or path.is_dir():
        raise ValueError(f"{key}: {text[1:]} is {'a folder' if path.is_dir() else 'not there'}")
    return path


def _value(key: str, text: str, field: Schema, root: Schema) -> Any:
    types = accepted_types(field, root)
    if types is not None and "string" in types:
        return text
    try:
        return read_json(text)
    except ValueError:
        if types is None:
            return text
        raise ValueError(f"{key}={text[:60]}: not JSON; the field takes {' or '.join(sorted(types))}") from None


def accepted_types(field: Schema, root: Schema, depth: int = 0) -> set[str] | None:
    """The JSON types (`string`, `integer`, …) that a field's schema names; None = it names none."""
    if depth > _DEEPEST:
        return None
    if "$ref" in field:
        return accepted_types(_resolve(field["$ref"], root), root, depth + 1)
    if isinstance(field.get("type"), str):
        return {field["type"]}
    if isinstance(field.get("type"), list):
        return set(field["type"])
    if "const" in field or "enum" in field:
        return {_type_of(each) for each in field.get("enum", [field.get("const")])}
    for union in ("anyOf", "oneOf", "allOf"):
        if union in field:
            parts = [accepted_types(part, root, depth + 1) for part in field[union]]
            known = [part for part in parts if part is not None]
            return set().union(*known) if len(known) == len(parts) else None
    return None


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object", type(None): "null"}
    return names[type(value)]


def _resolve(reference: str, root: Schema) -> Schema:
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def _own_example(field: Schema) -> Any:
    if field.get("examples"):
        return field["examples"][0]
    for keyword in ("example", "default", "const"):
        if field.get(keyword) is not None:
            return field[keyword]
    return field["enum"][0] if field.get("enum") else None


def _example(field: Schema, root: Schema, name: str, depth: int) -> Any:
    shown = _own_example(field)
    if shown is not None or depth > _DEEPEST:
        return shown
    if _FILE in field:
        return Path({"image": "picture.jpg", "audio": "sound.wav"}.get(field[_FILE].get("kind", ""), "file"))
    if "$ref" in field:
        return _example(_resolve(field["$ref"], root), root, name, depth + 1)
    for union in ("anyOf", "oneOf", "allOf"):
        if union in field:
            parts = [part for part in field[union] if part.get("type") != "null"]
            return _example(parts[0], root, name, depth + 1) if parts else None
    kind = field.get("type", "string")
    if kind == "object":
        return {each: _example(field.get("properties", {}).get(each, {}), root, each, depth + 1) for each in field.get("required", [])}
    if kind == "array":
        items = field.get("prefixItems") or [field.get("items", {})] * max(1, field.get("minItems", 1))
        return [_example(item, root, name, depth + 1) for item in items]
    if kind in ("integer", "number"):
        return _number(field)
    return {"boolean": True, "null": None}[kind] if kind in ("boolean", "null") else _string(field, name)


def _number(field: Schema) -> float:
    step = field.get("multipleOf", 1)
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    if low is not None:
        number = low if "minimum" in field else _between(low, high, step)
    elif high is not None and high < step:
        number = high if "maximum" in field else high - step
    else:
        number = step
    return int(number) if field.get("type") == "integer" else number


def _between(low: float, high: float | None, step: float) -> float:
    return low + step if high is None or low + step < high else (low + high) / 2


def _string(field: Schema, name: str) -> str:
    text = _EXAMPLES_BY_FORMAT.get(field.get("format", ""), f"hello {name}" if name not in ("text", "prompt") else "hello world")
    shortest, longest = field.get("minLength", 0), field.get("maxLength")
    return text.ljust(shortest, ".")[:longest]
