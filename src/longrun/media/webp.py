"""WebP: a RIFF file of chunks; one picture (`VP8 `, `VP8L`), or an animation of many (`ANMF`)."""

from __future__ import annotations

from struct import unpack

from longrun.media.findings import Findings
from longrun.media.riff import chunks_end, next_chunk, past_chunk
from longrun.media.source import Reading, Source, broken

_PICTURES = {b"VP8 ", b"VP8L"}


class _WebP:
    """What was seen of one file."""

    def __init__(self) -> None:
        self.canvas: tuple[int, int] | None = None
        self.animated, self.pictures, self.frames = False, 0, 0


def read_webp(source: Source, findings: Findings) -> Reading[None]:
    """Read to the end of the RIFF file, and see that nothing follows."""
    end = yield from chunks_end(source)
    webp, first = _WebP(), True
    while source.position < end:
        name, size, last = yield from next_chunk(source, end)
        if first and name not in _PICTURES and name != b"VP8X":
            raise broken("A WebP begins with a picture or a canvas.")
        if not first and name == b"VP8X":
            raise broken("The WebP has two canvases.")
        yield from _chunk(source, findings, webp, name, size)
        yield from past_chunk(source, size, last)
        first = False
    if not (webp.frames if webp.animated else webp.pictures):
        raise broken("It has no picture in it.")
    yield from source.nothing_follows("image")


def _chunk(source: Source, findings: Findings, webp: _WebP, name: bytes, size: int) -> Reading[None]:
    """Keep what a chunk says."""
    if name == b"VP8X":
        yield from _canvas(source, findings, webp, size)
    elif name == b"ANMF":
        yield from _frame(source, findings, webp, size)
    elif name in _PICTURES:
        webp.pictures += 1
        if webp.pictures > 1 or webp.animated:
            raise broken("The WebP has a picture too many.")
        width, height = yield from _picture(source, name, size)
        findings.size(width, height)
        findings.frame()
        if webp.canvas not in {None, (width, height)}:
            raise broken("The picture of the WebP has another size than its canvas.")


def _canvas(source: Source, findings: Findings, webp: _WebP, size: int) -> Reading[None]:
    """The size of the whole, and whether it moves."""
    if size < 10:
        raise broken("The canvas of the WebP is too short.")
    data = yield from source.take(10)
    webp.canvas = _small(data, 4) + 1, _small(data, 7) + 1
    webp.animated = bool(data[0] & 2)
    findings.size(*webp.canvas)


def _frame(source: Source, findings: Findings, webp: _WebP, size: int) -> Reading[None]:
    """A frame of an animation: it lies on the canvas."""
    if size < 24 or webp.canvas is None or not webp.animated:
        raise broken("A frame of the WebP is not where it should be.")
    data = yield from source.take(16)
    right, below = 2 * _small(data, 0) + _small(data, 6) + 1, 2 * _small(data, 3) + _small(data, 9) + 1
    webp.frames += 1
    findings.frame()
    if right > webp.canvas[0] or below > webp.canvas[1]:
        raise broken("A frame of the WebP lies outside of the picture.")


def _picture(source: Source, name: bytes, size: int) -> Reading[tuple[int, int]]:
    """Width and height, from the picture's own header."""
    if size < 10:
        raise broken("A picture of the WebP is too short.")
    data = yield from source.take(10)
    if name == b"VP8L" and data[0] == 0x2F:
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        width, height = unpack("<HH", data[6:])
        return width & 0x3FFF, height & 0x3FFF
    raise broken("A picture of the WebP has no sensible header.")


def _small(data: bytes, at: int) -> int:
    """A number of three bytes."""
    return int.from_bytes(data[at : at + 3], "little")
