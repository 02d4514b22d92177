"""PNG and APNG: a signature, then chunks of length, type, data and checksum."""

from __future__ import annotations

import zlib
from struct import unpack

from longrun.media.findings import Findings
from longrun.media.source import Reading, Source, broken

#: Bits per sample that a colour type may have.
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_LARGEST = 2**31 - 1
#: What is read of a chunk: larger ones of these types are broken.
_READ = {b"IHDR": 13, b"acTL": 8, b"fcTL": 26, b"IEND": 0}


class _Png:
    """What was seen of one picture."""

    def __init__(self) -> None:
        self.colour = -1
        self.seen: set[bytes] = set()
        self.last = b""
        self.announced, self.animated, self.before = 0, 0, 0


def read_png(source: Source, findings: Findings) -> Reading[None]:
    """Read to the end of the image, and see that nothing follows."""
    yield from source.skip(8)
    png = _Png()
    while png.last != b"IEND":
        source.part()
        length, name = unpack(">I4s", (yield from source.take(8)))
        _check_order(png, length, name)
        data = yield from _checked(source, length, name)
        _note(png, findings, name, data)
        png.seen.add(name)
        png.last = name
    if b"IDAT" not in png.seen:
        raise broken("It has no picture in it: a PNG without an IDAT chunk.")
    if png.animated < png.announced:
        raise broken(f"It announces {png.announced:,} frames and holds {png.animated:,}.")
    yield from source.nothing_follows("image")


def _check_order(png: _Png, length: int, name: bytes) -> None:
    """The chunks that have a place of their own are at it."""
    if length > _LARGEST or not name.isalpha():
        raise broken("A chunk of the PNG has no sensible header.")
    if (name == b"IHDR") != (not png.last):
        raise broken("A PNG begins with one IHDR chunk.")
    if name in _READ and length != _READ[name]:
        raise broken(f"A {name.decode()} chunk of the PNG has {length:,} bytes.")
    if name == b"IDAT" and b"IDAT" in png.seen and png.last != b"IDAT":
        raise broken("The picture data of the PNG is not in one piece.")
    if name == b"IDAT" and png.colour == 3 and b"PLTE" not in png.seen:
        raise broken("The PNG needs a palette and has none.")


def _checked(source: Source, length: int, name: bytes) -> Reading[bytes]:
    """The data of a chunk whose checksum is right; only of chunks that are read here."""
    checksum = zlib.crc32(name)

    def see(piece: bytes) -> None:
        nonlocal checksum
        checksum = zlib.crc32(piece, checksum)

    data = (yield from source.peek(length)) if name in _READ else b""
    yield from source.pass_on(length, see)
    if checksum != int.from_bytes((yield from source.take(4))):
        raise broken(f"The checksum of a {name.decode()} chunk of the PNG is wrong.")
    return data


def _note(png: _Png, findings: Findings, name: bytes, data: bytes) -> None:
    """Keep what a chunk says."""
    if name == b"IHDR":
        width, height, depth, png.colour, packing, filtering, interlace = unpack(">IIBBBBB", data)
        findings.size(width, height)
        if max(width, height) > _LARGEST or depth not in _DEPTHS.get(png.colour, ()) or packing or filtering or interlace > 1:
            raise broken("The header of the PNG says what no PNG can be.")
    elif name == b"acTL":
        png.announced = int.from_bytes(data[:4])
    elif name == b"fcTL":
        png.animated += 1
        _check_frame(findings, *unpack(">IIII", data[4:20]))
    elif name == b"IDAT" and not png.animated:
        png.before = 1  # a picture for those who cannot show the moving one
    findings.frames = max(png.announced, png.animated) + png.before or 1


def _check_frame(findings: Findings, width: int, height: int, left: int, top: int) -> None:
    """A frame lies within the picture."""
    if not width or not height or left + width > (findings.width or 0) or top + height > (findings.height or 0):
        raise broken("A frame of the PNG lies outside of the picture.")
