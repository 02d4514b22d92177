"""How much a JSON text holds, counted on its bytes before anything is built of it: pure, linear, and in C but for a loop over pieces."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import accumulate

#: Bytes of structure that are looked at in one go.
_PIECE = 64 * 1024
_KEPT = b'[]{},:"'
_OTHERS = bytes(byte for byte in range(256) if byte not in _KEPT)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
#: As signed bytes: one level deeper, one level back.
_STEPS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")


def most_possible(text: bytes) -> int:
    """What `count_items` cannot exceed, for next to nothing; brackets and commas inside of strings are part of it."""
    return text.count(b",") + text.count(b"[") + 2 * text.count(b"{")


def count_items(text: bytes) -> int:
    """Commas and opening brackets outside of strings; a brace counts twice, for an object takes more memory than a list."""
    return sum(map(most_possible, _structure(text)))


def count_members(text: bytes) -> int:
    """Members of all objects of a JSON text."""
    return sum(piece.count(b":") for piece in _structure(text)) if b":" in text else 0


def is_deep(text: bytes, most: int) -> bool:
    """Whether brackets are nested more than `most` deep; in text that is not JSON it may say yes where a parser would complain first."""
    if text.count(b"[") + text.count(b"{") <= most:
        return False
    depth = 0
    for piece in _structure(text):
        steps = array("b", piece.translate(_STEPS, _NOT_BRACKETS))
        if max(accumulate(steps, initial=depth)) > most:
            return True
        depth += sum(steps)
    return False


def _structure(text: bytes) -> Iterator[bytes]:
    """Brackets, commas and colons outside of strings, in order, piece by piece.

    Without escapes every quote begins or ends a string, so that where a piece begins is told by the quotes before it.
    """
    if b"\\" in text:
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    marks = text.translate(None, _OTHERS)
    inside = 0
    for start in range(0, len(marks), _PIECE):
        parts = marks[start : start + _PIECE].split(b'"')
        yield b"".join(parts[inside::2])
        inside ^= (len(parts) - 1) & 1
