"""From pydantic's errors to findings a caller can act on: a JSON pointer (RFC 6901) and a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

#: Findings shown for one value; who has more wrong than that will not read them.
MOST_FINDINGS = 50
#: Over this many, they are not even rendered: it takes a second for a million, on the event loop.
MOST_RENDERED = 2_000
LONGEST_DETAIL = 300
_PREFIXES = ("Value error, ", "Assertion failed, ")


def pointer(root: str, parts: Iterable[str | int]) -> str:
    """`/input` and `("a/b", 0)` give `/input/a~1b/0`."""
    return "/".join([root, *(str(part).replace("~", "~0").replace("/", "~1") for part in parts)])


def shorten(text: str, limit: int = LONGEST_DETAIL) -> str:
    """`text`, cut to `limit` characters: a caller's own value may be part of it."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def findings(error: ValidationError, value: Any, root: str, *, but: str = "") -> list[dict[str, str]]:
    """What is wrong with `value`: at most 50 of `{"pointer", "detail"}`, no two alike.

    Args:
        error: what pydantic found.
        value: the value as it was given, as lists and dicts.
        root: the pointer of `value` itself, `/input`.
        but: a kind of error that is left out.
    """
    count = error.error_count()
    if count > MOST_RENDERED:
        return [{"pointer": root, "detail": f"{count} values in it are not allowed; look at the schema of the model"}]
    found: dict[tuple[str, str], None] = {}
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        if each["type"] == but:
            continue
        where = pointer(root, _real_path(each["loc"], value, missing=each["type"] == "missing"))
        found[where, _sentence(each["type"], each["msg"])] = None
        if len(found) == MOST_FINDINGS:
            break
    return [{"pointer": shorten(where), "detail": detail} for where, detail in found]


def places(error: ValidationError, value: Any, kind: str) -> tuple[list[tuple[tuple[str | int, ...], int]], bool]:
    """Where errors of a kind that carries a `number` stand, with the numbers; and whether there are errors at other places too."""
    if error.error_count() > MOST_RENDERED:
        return [], True
    found, others = [], set()
    for each in error.errors(include_url=False, include_input=False):
        path = tuple(_real_path(each["loc"], value, missing=each["type"] == "missing"))
        if each["type"] == kind:
            found.append((path, each["ctx"]["number"]))
        else:
            others.add(path)
    # Beside a file in a union, the other members of the union have something to say of the same place.
    return found, not others <= {path for path, _ in found}


#: Where pydantic looks at decoded values it speaks of Python's types, and of classes that no caller knows; of JSON text it says this.
_OBJECT, _ARRAY = "Input should be an object", "Input should be a valid array"
_IN_JSON = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dataclass_type", "dict_type", "mapping_type"), _OBJECT),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), _ARRAY),
}


def _sentence(kind: str, text: str) -> str:
    if kind in _IN_JSON:
        return _IN_JSON[kind]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return "There is no such field"
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    return shorten(text)


def _real_path(loc: tuple[str | int, ...], value: Any, *, missing: bool) -> list[str | int]:
    """The parts of `loc` that lead through the value; pydantic mixes in tags of unions and names of validators."""
    path: list[str | int] = []
    for index, part in enumerate(loc):
        if isinstance(value, Mapping):
            if part in value:
                path.append(part)
                value = value[part]
            elif missing and index == len(loc) - 1:
                path.append(part)
        elif isinstance(value, Sequence) and not isinstance(value, str) and isinstance(part, int) and part < len(value):
            path.append(part)
            value = value[part]
    return path
