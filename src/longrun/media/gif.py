"""GIF: a screen, then blocks: pictures, extensions, a trailer."""

from __future__ import annotations

import re
from struct import unpack

from longrun.media.findings import Findings
from longrun.media.source import FlawedError, Reading, Source, broken

_PICTURE, _EXTENSION, _TRAILER, _NOTHING = b"\x2c", b"\x21", b"\x3b", b"\0"
#: `GIF89a` is a name in a script; the size of the screen, which follows it, would go on with a comment, an assignment, a label or a call.
_SCRIPT = re.compile(rb"/[*/]|[=:(](?:[!-~]|\s[\s!-~]{2})")


def read_gif(source: Source, findings: Findings) -> Reading[None]:
    """Read to the trailer, and see that nothing follows."""
    start = yield from source.take(13)
    if _SCRIPT.match(start, 6):
        raise FlawedError("polyglot", "The header of the GIF can be read as a script.")
    screen_width, screen_height, flags = unpack("<HHB", start[6:11])
    if screen_width and screen_height:
        findings.size(screen_width, screen_height)
    yield from source.skip(_colours(flags))
    while (block := (yield from source.take(1))) != _TRAILER:
        source.part()
        if block == _PICTURE:
            yield from _picture(source, findings)
        elif block == _EXTENSION:
            yield from source.skip(1)
            yield from _pass_blocks(source)
        elif block != _NOTHING:  # stray zero bytes are common, and every decoder passes them over
            raise broken("Between the blocks of the GIF is something else.")
    if not findings.frames:
        raise broken("It has no picture in it.")
    yield from source.nothing_follows("image")


def _colours(flags: int) -> int:
    """Bytes of the table of colours."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _picture(source: Source, findings: Findings) -> Reading[None]:
    """One picture; it may be larger than the screen."""
    left, top, width, height, flags = unpack("<HHHHB", (yield from source.take(9)))
    findings.frame()
    if not width or not height:
        raise broken("A picture of the GIF has no size.")
    findings.size(left + width, top + height)
    yield from source.skip(_colours(flags))
    if not 1 <= (yield from source.take(1))[0] <= 11:
        raise broken("A picture of the GIF is packed in a way that there is not.")
    yield from _pass_blocks(source)


def _pass_blocks(source: Source) -> Reading[None]:
    """Go past blocks of up to 255 bytes and the empty one that ends them. By hand, because there may be very many."""
    while True:
        data, at, end = source.data, source.at, len(source.data)
        while at < end and data[at]:
            at += data[at] + 1
        if at < end:
            source.at = at + 1
            return
        source.at = end
        yield from source.skip(at - end)
        if (yield from source.at_end()):
            raise source.ends_early()
