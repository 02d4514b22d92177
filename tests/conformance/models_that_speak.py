"""A model that says everything that readers of streams could trip over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from longrun import Job, model

#: Inside a text, at its beginning, and alone.
_PIECES = [
    *("\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x00", "\ufeff", "\x7f"),
    *(
        "data: ",
        "id: 7\n",
        "\nid: 7\n\n",
        "event: error\n",
        "retry: 1\n",
        ":",
        ": comment\n",
        "\ndata:",
        " ",
        "\t",
        '"',
        "\\",
        "\\n",
        "\\u2028",
    ),
    *(
        "\\\u2028",
        "\\\x85",
        "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\ud800",
        "\udc00\ud83d",
        "\u00e9" * 50,
        "\uffff",
        "</script>",
    ),
]
TEXTS = ["", *_PIECES, *(piece + "x" for piece in _PIECES), *("x" + piece + "y" for piece in _PIECES), "".join(_PIECES)]


def whole(value: Any) -> Any:
    """The value with U+FFFD instead of half characters, which no JSON can carry."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [whole(item) for item in value]
    return {whole(key): whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def _deep(depth: int) -> Any:
    value: Any = "\u2028"
    for level in range(depth):
        value = [value] if level % 2 else {"data: ": value}
    return value


VALUES: list[Any] = [
    *TEXTS,
    *("x" * 1_000_000, "\u2028\u00e9" * 200_000, " " * 70_000, "\n" * 70_000),
    *(None, True, 0, -0.0, 1e308, 5e-324, 2**53 + 1, 2**63, -(2**64), 10**60, float("nan"), float("inf")),
    *([], {}, "null", "[]", _deep(60), {text: text for text in TEXTS}, TEXTS),
]


@model
async def speak(pause: float, job: Job) -> AsyncIterator[Any]:
    """Say every value, and every text as a log line and as progress; with a pause now and then."""
    for number, value in enumerate(VALUES):
        if isinstance(value, str):
            job.log(value)
            job.progress(number / len(VALUES), value[:100], value)
        yield value
        if number % 10 == 0:
            await asyncio.sleep(pause)
