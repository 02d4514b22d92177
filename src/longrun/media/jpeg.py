"""JPEG: segments that begin with 0xFF and a marker, and scans of compressed data between them.

What follows the end of the image: phones and cameras append a further JPEG (a preview, a gain map; CIPA's Multi-Picture Format), a short
film (Google's and Apple's motion photos, an MP4) or Samsung's trailer, which ends in `SEFT`. These are let through, as decoders pass them
over; the further JPEGs are read like the first, and their sizes count. Padding is let through too. Anything else there is refused, and so
are scripts, pages and archives in these parts (see `watch`).
"""

from __future__ import annotations

import re
from struct import unpack

from longrun.media.findings import Findings
from longrun.media.source import FlawedError, Reading, Source, broken

_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SOS, _EOI, _APP0 = 0xDA, 0xD9, 0xE0
_ALONE = {0x01, *range(0xD0, 0xD8)}
#: Ends scan data: a marker that is neither an escaped 0xFF, nor a restart, nor filling.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_NOT_FILLING = re.compile(rb"[^\xff]")
_NOT_PADDING = re.compile(rb"[^\0\r\n]")
#: Each scan costs a decoder a pass over the whole picture; encoders make a dozen.
_SCANS = 500
_SCRIPT_COMMENT = int.from_bytes(b"/*")


def read_jpeg(source: Source, findings: Findings) -> Reading[None]:
    """Read the image, and what may follow it."""
    findings.frame()
    yield from _image(source, findings)
    while (yield from source.find(_NOT_PADDING, 1)):
        start = yield from source.peek(8)
        if start.startswith(b"\xff\xd8\xff"):
            yield from _image(source, findings)
        elif b"ftyp" in start[1:]:  # its size is before it, whose zero bytes look like padding
            yield from source.pass_on(None)
        else:
            yield from _samsung(source)


def _image(source: Source, findings: Findings) -> Reading[None]:
    """One image, from its start to its end marker."""
    sized, scans = False, 0
    yield from source.skip(2)
    while True:
        source.part()
        marker = yield from _marker(source)
        if marker == _EOI:
            break
        if marker in _ALONE:
            continue
        length = int.from_bytes((yield from source.take(2)))
        if length < 2 or marker in {0x00, 0xD8}:
            raise broken("A segment of the JPEG has no sensible header.")
        if marker == _APP0 and length == _SCRIPT_COMMENT:
            raise FlawedError("polyglot", "The header of the JPEG can be read as a script.")
        if marker in _SOF:
            if sized:
                raise broken("The JPEG has two frame headers.")
            sized = yield from _size(source, findings, length)
        elif marker == _SOS:
            scans += 1
            yield from _scan(source, length, sized, scans)
        else:
            yield from source.skip(length - 2)
    if not scans:
        raise broken("It has no picture in it: a JPEG without a scan.")


def _marker(source: Source) -> Reading[int]:
    """The next marker; any number of 0xFF may stand before it."""
    if (yield from source.take(1)) != b"\xff":
        raise broken("Between the segments of the JPEG is something else.")
    if not (yield from source.find(_NOT_FILLING, 1)):
        raise source.ends_early()
    return (yield from source.take(1))[0]


def _size(source: Source, findings: Findings, length: int) -> Reading[bool]:
    """Width and height, from a frame header."""
    if length < 8:
        raise broken("The frame header of the JPEG is too short.")
    _, height, width, components = unpack(">BHHB", (yield from source.take(6)))
    findings.size(width, height)
    if not 1 <= components <= 4 or length != 8 + 3 * components:
        raise broken("The frame header of the JPEG says what no JPEG can be.")
    yield from source.skip(length - 8)
    return True


def _scan(source: Source, length: int, sized: bool, scans: int) -> Reading[None]:
    """The header of a scan and its data, up to the next marker."""
    if not sized:
        raise broken("A scan of the JPEG comes before its frame header.")
    if scans > _SCANS:
        raise broken(f"The JPEG has more than {_SCANS} scans.")
    yield from source.skip(length - 2)
    start = source.position
    if not (yield from source.find(_MARKER, 2)):
        raise source.ends_early()
    if source.position == start:
        raise broken("A scan of the JPEG is empty.")


def _samsung(source: Source) -> Reading[None]:
    """All that is left, if it ends as Samsung's trailer does."""
    start, tail = source.position, b""

    def see(piece: bytes) -> None:
        nonlocal tail
        tail = (tail + piece)[-4:]

    yield from source.pass_on(None, see)
    if tail != b"SEFT":
        raise FlawedError("polyglot", f"Something follows the end of the image, from byte {start:,} on.")
