"""The .npy format 1.0 of NumPy, as far as outputs need it, without NumPy: writing its head, and rendering its numbers as JSON.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. We write little-endian numbers and booleans in C order, and
read nothing else; the head is matched, never evaluated.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from math import prod
from typing import NamedTuple

import orjson

MEDIA_TYPE = "application/x-npy"
_MAGIC = b"\x93NUMPY\x01\x00"  # no JSON begins like this
_ALIGN = 64
_HEAD = re.compile(
    r"\{'descr': '([<|][bfiu][1248])', 'fortran_order': False, 'shape': \(([0-9]{1,18}(?:,|(?:, [0-9]{1,18}){1,63}))\), \} *\n"
)
#: The numbers of a head as `memoryview` and `array` know them; `e` is known to `struct` alone.
_CODES = {
    "|b1": "?", "|i1": "b", "|u1": "B", "<i2": "h", "<u2": "H", "<i4": "i", "<u4": "I", "<i8": "q", "<u8": "Q",
    "<f2": "e", "<f4": "f", "<f8": "d",
}  # fmt: skip
#: Bytes of numbers that are rendered at once.
_BLOCK = 64 * 1024


class Head(NamedTuple):
    """What the head of an .npy file says: the kind of its numbers, such as `<f4`, and the shape; `size` = bytes of the head."""

    descr: str
    shape: tuple[int, ...]
    size: int


def is_npy(data: bytes) -> bool:
    """Whether an output is such a file and not JSON."""
    return data.startswith(_MAGIC)


def head(descr: str, shape: tuple[int, ...]) -> bytes:
    """What stands before the numbers. Raises ValueError: `descr` is none of those that we write."""
    if descr not in _CODES:
        raise ValueError(f"not a kind of numbers for an output: {descr}")
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    length = -(-(len(_MAGIC) + 2 + len(text) + 1) // _ALIGN) * _ALIGN - len(_MAGIC) - 2
    return _MAGIC + struct.pack("<H", length) + text.ljust(length - 1).encode() + b"\n"


def read_head(data: bytes) -> Head | None:
    """The head, or None when `data` is too short for it. Raises ValueError: it is not one that we write."""
    start = len(_MAGIC) + 2
    if len(data) < start:
        return None
    end = start + struct.unpack_from("<H", data, len(_MAGIC))[0]
    if len(data) < end:
        return None
    found = _HEAD.fullmatch(data[start:end].decode("latin-1")) if is_npy(data) else None
    if found is None or found[1] not in _CODES:
        raise ValueError("not an .npy file as Longrun writes them")
    return Head(found[1], tuple(int(each) for each in found[2].split(",") if each.strip()), end)


def to_json(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The JSON text of an .npy file: nested lists, with null for NaN and infinity. It holds one block of numbers at a time.

    Raises:
        ValueError: it is not a file as `head` begins it, or it is cut off.
    """
    renderer = Renderer()
    for piece in pieces:
        yield from renderer.feed(piece)
    renderer.close()


class Renderer:
    """Turns an .npy file that comes in pieces into JSON text."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._numbers: _Numbers | None = None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The text that `piece` completes, block by block; the caller goes through all of it. Raises ValueError."""
        self._held += piece
        if self._numbers is None:
            found = read_head(bytes(self._held[: 1 << 16]))
            if found is None:
                return
            self._numbers = _Numbers(found)
            del self._held[: found.size]
            if self._numbers.left == 0:
                yield orjson.dumps(_empty(found.shape))
        at = 0
        # A view would keep the array from being cut.
        held = bytes(self._held)
        while size := self._numbers.next_block(len(held) - at):
            yield self._numbers.render(held[at : at + size])
            at += size
        del self._held[:at]

    def close(self) -> None:
        """Raises ValueError: the file had not ended, or goes on after its last number."""
        if self._numbers is None or self._numbers.left or self._held:
            raise ValueError("the .npy file does not hold what its head says")


class _Numbers:
    """Where we are in an array.

    It is divided at the axis behind which less than a block lies: a run is all along that axis, a unit is one step of it.
    """

    def __init__(self, found: Head) -> None:
        self._code, shape = _CODES[found.descr], found.shape
        width = int(found.descr[2])
        axis = next((each for each in range(len(shape)) if prod(shape[each + 1 :]) * width <= _BLOCK), 0)
        self._inner = shape[axis + 1 :]
        self._unit = prod(self._inner) * width
        self._run = shape[axis]
        # After so many runs a list of an outer axis ends, the innermost first.
        self._ends = [prod(shape[outer:axis]) for outer in range(axis - 1, -1, -1)]
        self._done = 0
        self.left = prod(shape)  #: units that are still to come
        self.left = 0 if self.left == 0 else prod(shape[: axis + 1])

    def next_block(self, held: int) -> int:
        """Bytes of the next block, when so many are held; 0 = wait for more. Blocks do not go beyond a run."""
        if not self.left:
            return 0
        wanted = min(max(1, _BLOCK // self._unit), self._run - self._done % self._run)
        return wanted * self._unit if held >= wanted * self._unit else 0

    def render(self, block: bytes) -> bytes:
        """The text of a block, with the commas and brackets around it."""
        units = len(block) // self._unit
        first = "," if self._done else ""
        if self._done % self._run == 0:
            first += "[" * (1 + self._full(self._done // self._run))
        self._done += units
        self.left -= units
        last = "]" * (1 + self._full(self._done // self._run)) if self._done % self._run == 0 else ""
        return first.encode() + orjson.dumps(_values(self._code, block, (units, *self._inner)))[1:-1] + last.encode()

    def _full(self, runs: int) -> int:
        return sum(runs % end == 0 for end in self._ends)


def _values(code: str, block: bytes, shape: tuple[int, ...]) -> list[object]:
    if code == "e":
        code, block = "f", array("f", struct.unpack(f"<{len(block) // 2}e", block)).tobytes()
    elif sys.byteorder == "big" and code not in "?bB":
        numbers = array(code, block)
        numbers.byteswap()
        block = numbers.tobytes()
    return memoryview(block).cast("B").cast(code, shape).tolist()  # type: ignore[call-overload, no-any-return]


def _empty(shape: tuple[int, ...]) -> list[object]:
    return [_empty(shape[1:]) for _ in range(shape[0])] if len(shape) > 1 and shape[0] else []
