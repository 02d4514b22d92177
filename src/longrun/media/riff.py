"""RIFF, which WebP and WAV are made of: chunks of name, size, data, and a filling byte after odd sizes."""

from __future__ import annotations

from struct import unpack

from longrun.media.source import Reading, Source, broken


def chunks_end(source: Source) -> Reading[int]:
    """Go past the header: where the file ends by its own word."""
    head = yield from source.take(12)
    return 8 + int.from_bytes(head[4:8], "little")


def next_chunk(source: Source, end: int) -> Reading[tuple[bytes, int, int]]:
    """Go past the header of a chunk: its name, its size, where it ends. Raises FlawedError: that is beyond the end of the file."""
    source.part()
    if end - source.position < 8:
        raise broken("Between the parts of the file is something else.")
    name, size = unpack("<4sI", (yield from source.take(8)))
    last = source.position + size
    if last > end:
        raise broken("A part of the file goes over the end that its header names.")
    return name, size, last


def past_chunk(source: Source, size: int, last: int) -> Reading[None]:
    """Go to the end of a chunk, and past its filling byte, which some writers forget."""
    yield from source.skip_to(last)
    if size % 2 and (yield from source.peek(1)) == b"\0":
        yield from source.skip(1)
