"""What a caller reads of an input that is refused."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from longrun.errors import ValidationFailed
from longrun.models.pointers import findings

ROOT = "/input"
BROKEN = [{"pointer": ROOT, "detail": "The model's own checks could not handle this input"}]
AMBIGUOUS = [
    {"pointer": ROOT, "detail": "Its objects may each be of several classes of the model, and there are too many ways to read them"}
]


def found_in(error: ValidationError, data: Any, *, but: str = "") -> list[dict[str, str]]:
    """What is wrong with an input. What a validator raised is the author's code, and may break when it is asked for its text."""
    try:
        return findings(error, data, ROOT, but=but)
    except BaseException:
        return BROKEN


def refused(found: list[dict[str, str]]) -> ValidationFailed:
    """The problem with these findings."""
    first = found[0]
    more = f" (and {len(found) - 1} more, see errors)" if len(found) > 1 else ""
    return ValidationFailed(f"{first['pointer']}: {first['detail']}{more}", errors=found)


def json_type(value: Any) -> str:
    """What a decoded value is in JSON."""
    names: dict[type, str] = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), "something else")
