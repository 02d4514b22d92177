"""TIFF and BigTIFF: directories of tags, each of which may point anywhere in the file.

It is read as it passes, so the directories must stand in ascending order, one behind the other, as all common writers put them; a file
that points back is refused, and with it every file that turns in circles. Directories of thumbnails and camera data (SubIFD, EXIF) are not
followed, because decoders do not either unless they are asked to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from struct import Struct, unpack
from typing import Any

from longrun.media.findings import Findings
from longrun.media.source import HELD, Reading, Source, broken

#: Bytes of each type of value.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _SAMPLES = 256, 257, 277
#: Where the strips or tiles of a picture are, and how many bytes each has.
_OFFSETS, _COUNTS = {273, 324}, {279, 325}
#: Satellites have a dozen bands; a decoder takes memory for each.
_MOST_SAMPLES = 64
_MOST_TAGS = 1000
#: Places that are still to be visited: two arrays of each directory, and the next directory, for writers that put the arrays last.
_MOST_PLACES = 4096


@dataclass(slots=True)
class _Strips:
    """The last strip of a picture: the file goes on to its end at least."""

    start: int = 0
    index: int = 0
    length: int = 1
    lengths: tuple[int, ...] = ()


@dataclass(slots=True)
class _Place:
    """A place further on: an array of strips, or (`tag` 0) a directory."""

    tag: int = 0
    letter: str = ""
    count: int = 0
    strips: _Strips = field(default_factory=_Strips)


@dataclass(slots=True)
class _Tiff:
    """What was seen of one file."""

    order: str
    big: bool
    places: list[tuple[int, int, _Place]] = field(default_factory=list)
    end: int = 0
    visits: int = 0
    kept: int = 0

    def visit(self, offset: int, place: _Place) -> None:
        """Come by there."""
        self.visits += 1
        if len(self.places) >= _MOST_PLACES:
            raise broken("The TIFF points to too many places.")
        heappush(self.places, (offset, self.visits, place))

    def reaches(self, end: int) -> None:
        """The file goes on to there at least."""
        self.end = max(self.end, end)


def read_tiff(source: Source, findings: Findings) -> Reading[None]:
    """Read all directories and the arrays that they point to, in the order in which they stand."""
    head = yield from source.take(8)
    order = "<" if head.startswith(b"II") else ">"
    tiff = _Tiff(order, big=head[2:4] in {b"+\0", b"\0+"})
    start = yield from _offset(source, tiff) if tiff.big else _classic_start(order, head)
    if tiff.big and unpack(order + "HH", head[4:8]) != (8, 0):
        raise broken("The header of the TIFF says what no TIFF can be.")
    tiff.visit(start, _Place())
    while tiff.places:
        offset, _, place = heappop(tiff.places)
        if offset < source.position:
            if place.tag == 0:
                raise broken("The directories of the TIFF are not in ascending order, which is needed to read it as it arrives.")
            continue
        yield from source.skip_to(offset)
        yield from _array(source, tiff, place) if place.tag else _directory(source, findings, tiff)
    yield from source.skip_to(max(tiff.end, source.position))
    yield from source.pass_on(None)


def _classic_start(order: str, head: bytes) -> Reading[int]:
    """Where the first directory is, from the header."""
    yield from ()
    return int(unpack(order + "I", head[4:])[0])


def _offset(source: Source, tiff: _Tiff) -> Reading[int]:
    """A place in the file."""
    number = Struct(tiff.order + ("Q" if tiff.big else "I"))
    return int(number.unpack((yield from source.take(number.size)))[0])


def _directory(source: Source, findings: Findings, tiff: _Tiff) -> Reading[None]:
    """One picture: its tags, and where the next directory is."""
    source.part()
    number, entry = Struct(tiff.order + ("Q" if tiff.big else "H")), Struct(tiff.order + ("HHQ8s" if tiff.big else "HHI4s"))
    count = number.unpack((yield from source.take(number.size)))[0]
    if not 1 <= count <= _MOST_TAGS:
        raise broken(f"A directory of the TIFF has {count:,} tags.")
    strips, found = _Strips(), dict[int, int]()
    while count:
        some = min(count, HELD // entry.size)
        for tag in entry.iter_unpack((yield from source.take(some * entry.size))):
            _tag(tiff, strips, found, tag)
        count -= some
    findings.frame()
    if _WIDTH not in found or _HEIGHT not in found:
        raise broken("A picture of the TIFF has no size.")
    findings.size(found[_WIDTH], found[_HEIGHT])
    if not 1 <= found.get(_SAMPLES, 1) <= _MOST_SAMPLES:
        raise broken(f"A picture of the TIFF has {found[_SAMPLES]:,} samples in each pixel; at most {_MOST_SAMPLES} are read.")
    if not found.keys() & _OFFSETS:
        raise broken("A picture of the TIFF has no data.")
    following = yield from _offset(source, tiff)
    if following:
        tiff.visit(following, _Place())


def _tag(tiff: _Tiff, strips: _Strips, found: dict[int, int], entry: tuple[Any, ...]) -> None:
    """Keep the tags that matter, and note what must be there of the others."""
    tag, kind, length, value = entry
    size = _SIZES.get(kind, 0) * length
    if size > len(value):
        offset = int.from_bytes(value, "little" if tiff.order == "<" else "big")
        tiff.reaches(offset + size)
        if tag in _OFFSETS | _COUNTS and kind in _WHOLE:
            found[tag] = offset
            tiff.visit(offset, _Place(tag, _WHOLE[kind], length, strips))
    elif kind in _WHOLE and length:
        values = unpack(f"{tiff.order}{length}{_WHOLE[kind]}", value[:size])
        found[tag] = values[0]
        if tag in _OFFSETS | _COUNTS:
            _strips(tiff, _Place(tag, count=length, strips=strips), 0, values)


def _array(source: Source, tiff: _Tiff, place: _Place) -> Reading[None]:
    """An array of strips, piece by piece."""
    number, done = Struct(tiff.order + place.letter), 0
    while done < place.count:
        count = min(place.count - done, HELD // number.size)
        data = yield from source.take(count * number.size)
        _strips(tiff, place, done, unpack(f"{tiff.order}{count}{place.letter}", data))
        done += count
    _forget(tiff, place)


def _strips(tiff: _Tiff, place: _Place, first: int, values: tuple[int, ...]) -> None:
    """Note where the last strip ends. Its length comes after its place, or before; then few lengths are kept until the place is known."""
    strips = place.strips
    if place.tag in _OFFSETS:
        largest = max(values)
        if largest >= strips.start:
            strips.start, strips.index = largest, first + values.index(largest)
            strips.length = strips.lengths[strips.index] if strips.index < len(strips.lengths) else 1
    elif not strips.start:
        keeps = not first and len(values) == place.count and tiff.kept + len(values) <= HELD
        strips.lengths = values if keeps else ()
        tiff.kept += len(strips.lengths)
    elif 0 <= strips.index - first < len(values):
        strips.length = values[strips.index - first]
    # a strip at 0 is nowhere
    tiff.reaches(strips.start + strips.length if strips.start else 0)


def _forget(tiff: _Tiff, place: _Place) -> None:
    """The places of the strips are known: their lengths are not needed any more."""
    if place.tag in _OFFSETS:
        tiff.kept -= len(place.strips.lengths)
        place.strips.lengths = ()
