"""Reading JSON lines as they come: each is judged like a JSON body, and one at a time is held.

A byte order mark at the beginning, CR before a line's end, blank lines, and a last line without an end are fine; blank lines count for the
numbers of lines, and for nothing else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from longrun.api.http.body import read_json
from longrun.errors import MalformedRequest, PayloadTooLarge, ValidationFailed
from longrun.service.aside import aside
from longrun.service.batch_inputs import Item

_TYPE = re.compile(r"application/(?:x-ndjson|x-jsonlines|jsonl|ndjson)", re.IGNORECASE)
#: Blank lines after which the event loop gets its turn.
_TURN = 1000
_MARK = b"\xef\xbb\xbf"


def is_lines(content_type: str | None) -> bool:
    """Whether a header says JSON lines: `application/jsonl`, or one of the other names in use."""
    return _TYPE.fullmatch((content_type or "").partition(";")[0].strip()) is not None


async def read_lines(chunks: AsyncIterator[bytes], most: int, most_items: int | None = None) -> AsyncIterator[Item]:
    """The value of each line.

    Args:
        chunks: the text.
        most: bytes that a line may have; after a longer one nothing is read any more.
        most_items: what a line may count, see `count_items`; None: they are not counted.

    Raises:
        Exception: whatever `chunks` raises.
    """
    number = 0
    async for text in _split(chunks, most):
        number += 1
        line = text.removeprefix(_MARK) if number == 1 else text
        if len(line) > most:
            yield _wrong(number, f"longer than {most:,} bytes, which a line may have; nothing after it was read")
            return
        if line.strip(b" \t\r"):
            yield await aside(len(line), _item, number, line, most_items)
        elif number % _TURN == 0:
            await asyncio.sleep(0)  # nobody else gives the loop its turn, for nothing is made of a blank line


def _item(number: int, line: bytes, most_items: int | None) -> Item:
    try:
        return Item(read_json(line, most_items), number)
    except (MalformedRequest, PayloadTooLarge) as error:
        return _wrong(number, error.detail.replace("The body", "It").replace("line 1, ", ""))
    except ValidationFailed as error:
        return Item(line=number, wrong=tuple(error.errors or ()))


def _wrong(number: int, detail: str) -> Item:
    return Item(line=number, wrong=({"pointer": "", "detail": detail},))


async def _split(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """Lines without their ends; one that is too long as far as it has come."""
    rest = bytearray()
    async for chunk in chunks:
        *lines, last = chunk.split(b"\n")
        for line in lines:
            rest += line
            yield bytes(rest)
            if len(rest) > most:
                return
            rest.clear()
        rest += last
        if len(rest) > most:
            break
    if rest:
        yield bytes(rest)
