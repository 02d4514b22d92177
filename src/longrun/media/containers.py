"""MP4 (and M4A, HEIC, AVIF), and WebM (and Matroska): boxes in boxes."""

from __future__ import annotations

import re
from struct import unpack

from longrun.media.findings import Findings
from longrun.media.source import Reading, Source, broken

_SOUND = {b"M4A ", b"M4B ", b"M4P "}
_STILLS = {
    b"heic": "heic",
    b"heix": "heic",
    b"heim": "heic",
    b"heis": "heic",
    b"hevc": "heic",
    b"hevx": "heic",
    b"mif1": "heic",
    b"msf1": "heic",
}
_STILLS |= {b"avif": "avif", b"avis": "avif"}
#: Boxes whose contents are boxes; what else is in them is passed over.
_ENTERED = {b"moov", b"trak", b"mdia"}
_DOC_TYPE = re.compile(rb"\x42\x82[\x84\x88](webm|matroska)")


def brand_format(brand: bytes) -> str:
    """What a file of this brand is, as far as the brand tells."""
    return "m4a" if brand in _SOUND else _STILLS.get(brand, "mp4")


def read_mp4(source: Source, findings: Findings) -> Reading[None]:
    """Read all boxes; one that has sound and no picture is M4A, whatever its brand."""
    handlers, seen, end = set[bytes](), set[bytes](), 0
    while not (yield from source.at_end()):
        source.part()
        size, name = unpack(">I4s", (yield from source.take(8)))
        left: int | None = size - 8
        if size == 1:
            left = int.from_bytes((yield from source.take(8))) - 16
        if size == 0:
            left = None
        elif left is None or left < 0:
            raise broken("A part of the file has no sensible size.")
        seen.add(name)
        if name in _ENTERED:
            end = max(end, source.position + (left or 0))
            continue
        if name == b"hdlr" and left is not None and left >= 12:
            handlers.add((yield from source.take(12))[8:])
            left -= 12
        yield from source.pass_on(left)
    if source.position < end:
        raise source.ends_early()
    if findings.format == "mp4" and b"soun" in handlers and b"vide" not in handlers:
        findings.format = "m4a"
    if not seen & {b"moov", b"meta"}:
        raise broken("It has no table of what is in it.")


def read_ebml(source: Source, findings: Findings) -> Reading[None]:
    """Read the header, and go to the end of the one segment; a writer to a pipe leaves its size open."""
    yield from source.skip(4)
    head = yield from source.peek(64)
    kind = _DOC_TYPE.search(head)
    findings.format = "webm" if kind is not None and kind[1] == b"webm" else "mkv"
    yield from source.skip((yield from _size(source)) or 0)
    if (yield from source.take(4)) != b"\x18\x53\x80\x67":
        raise broken("After the header of the file comes nothing that can be played.")
    yield from source.pass_on((yield from _size(source)))
    yield from source.nothing_follows("sound")


def _size(source: Source) -> Reading[int | None]:
    """A size of one to eight bytes; None: it is left open."""
    first = (yield from source.take(1))[0]
    if not first:
        raise broken("A part of the file has no sensible size.")
    length = 9 - first.bit_length()
    rest = yield from source.take(length - 1)
    size = (first & (1 << 8 - length) - 1) << 8 * len(rest) | int.from_bytes(rest)
    return None if size == (1 << 7 * length) - 1 else size
