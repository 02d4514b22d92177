"""What the text parts of a form stand for: pure.

A field that takes texts and nothing else gets the text as it stands. Every other field is read as JSON, by the rules of a JSON body; where
a text may stand too, what is no JSON is the text itself (`5` is the number, `"5"` and `five` are texts). A list is one part that begins
with `[`, read as JSON, or one part for each item. A part that says it is `application/json` stands for itself, whatever the field takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longrun.api.http.body import read_json
from longrun.errors import MalformedRequest, ValidationFailed
from longrun.models.pointers import pointer

Schema = Mapping[str, Any]
_DEFINITIONS = "#/$defs/"
#: Steps from a schema to what it says, through references and unions.
_DEEPEST = 16


class Sent(str):
    """A field that was sent as text; what it stands for depends on the model."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Json:
    """A field that was sent as JSON, and said so."""

    value: Any


def joined(name: str, found: Sequence[Any], schema: Any, definitions: Schema, most: int | None = None) -> Any:
    """The value of a field from its parts.

    Args:
        name: of the field.
        found: what each part holds: a `Sent`, a `Json`, or the id of a stored file.
        schema: the field's JSON Schema; None: there is no such field, and the model will say so.
        definitions: what the schema refers to.
        most: what a JSON text may count, see `read_json`.

    Raises:
        ValidationFailed: with a pointer to the field.
        PayloadTooLarge: a JSON text counts more than that.
    """
    options = _options(schema, definitions)
    kinds = _kinds(options)
    if len(found) == 1 and isinstance(found[0], Json):
        return found[0].value
    whole = len(found) == 1 and isinstance(found[0], Sent) and found[0].lstrip()[:1] == "["
    if "array" in kinds and not whole and (len(found) > 1 or "string" not in kinds):
        items = next((option.get("items") for option in options if option.get("type") == "array"), None)
        of_items = _kinds(_options(items, definitions))
        return [_value((name, str(index)), each, of_items, most) for index, each in enumerate(found)]
    if len(found) > 1:
        raise refused((name,), "This field is given more than once")
    return _value((name,), found[0], kinds, most)


def _options(schema: Any, definitions: Schema, deep: int = 0) -> list[Schema]:
    """The schemas of which one must hold, without references; empty: anything."""
    if not isinstance(schema, Mapping) or deep > _DEEPEST:
        return []
    if "$ref" in schema:
        return _options(definitions.get(str(schema["$ref"]).removeprefix(_DEFINITIONS)), definitions, deep + 1)
    several = schema.get("anyOf") or schema.get("oneOf")
    if not several:
        return [schema]
    found = [_options(each, definitions, deep + 1) for each in several]
    return [each for options in found for each in options] if all(found) else []


def _kinds(options: Sequence[Schema]) -> set[str]:
    """JSON types that may stand there; empty: any."""
    found = [option.get("type") for option in options]
    if not all(found):
        return set()
    return {each for kind in found for each in ([kind] if isinstance(kind, str) else kind or ())}


def _value(path: tuple[str, ...], text: Any, kinds: set[str], most: int | None) -> Any:
    if not isinstance(text, Sent):
        return text.value if isinstance(text, Json) else text
    if kinds and kinds <= {"string", "null"}:
        return str(text)
    try:
        return read_json(text.encode(), most)
    except (MalformedRequest, ValidationFailed) as error:
        if not kinds or "string" in kinds:
            return str(text)
        raise refused(path, f"This field is read as JSON ({', '.join(sorted(kinds))}): {error.detail}") from None


def refused(path: Sequence[str], detail: str) -> ValidationFailed:
    """The problem of what stands at `path` in the input."""
    where = pointer("/input", path)
    return ValidationFailed(f"{where}: {detail}", errors=[{"pointer": where, "detail": detail}])
