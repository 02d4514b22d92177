"""JSON text of values that came from JSON."""

from __future__ import annotations

import json
from typing import Any

import orjson

from longrun.models.large import LARGE
from longrun.service.aside import aside


def compact(value: Any) -> bytes:
    """The value as compact JSON; integers of any size are kept exactly."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer over 64 bits
        return _exactly(value, sort_keys=False)


async def compacted(value: Any) -> bytes:
    """As `compact`; it does not hold the event loop where numbers are large, which take long."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return await aside(LARGE + 1, _exactly, value, sort_keys=False)


def canonical(value: Any) -> bytes:
    """The same bytes for the same value, in whatever order the members of its objects were sent."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _exactly(value, sort_keys=True)


def _exactly(value: Any, *, sort_keys: bool) -> bytes:
    """Written in Python, piece by piece, so that other threads can run meanwhile."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys)
    return "".join(encoder.iterencode(value)).encode()
