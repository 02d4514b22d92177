"""JSON text of values that came from JSON."""

from __future__ import annotations

import json
from typing import Any

import orjson


def compact(value: Any) -> bytes:
    """The value as compact JSON; integers of any size are kept exactly."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer over 64 bits
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def canonical(value: Any) -> bytes:
    """The same bytes for the same value, in whatever order the members of its objects were sent."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()
