"""BMP: a header, a table of colours, the pixels."""

from __future__ import annotations

from contextlib import suppress
from struct import unpack

from longrun.media.findings import Findings
from longrun.media.source import FlawedError, Reading, Source, broken

#: Sizes of the second header, which tell its version.
HEADERS = {12, 40, 52, 56, 64, 108, 124}
_DEPTHS = {1, 2, 4, 8, 16, 24, 32}
_PLAIN = {0, 3, 6}
_FILE_HEADER, _CORE, _WITH_PROFILE = 14, 12, 124


def read_bmp(source: Source, findings: Findings) -> Reading[None]:
    """Read to the end of the pixels (and of a colour profile behind them), and see that nothing follows."""
    _, announced, _, pixels, header_size = unpack("<2sIIII", (yield from source.take(18)))
    header = yield from source.take(header_size - 4)
    end = pixels + _core(findings, header) if header_size == _CORE else pixels + _info(findings, header)
    findings.frame()
    if pixels < _FILE_HEADER + header_size:
        raise broken("The pixels of the BMP begin within its header.")
    if header_size == _WITH_PROFILE:
        profile, length = unpack("<II", header[108:116])
        end = max(end, _FILE_HEADER + profile + length if profile else 0)
    yield from source.skip_to(max(end, source.position))
    # some writers put a wrong size in the header, which no decoder minds
    with suppress(FlawedError):
        yield from source.skip_to(announced)
    yield from source.nothing_follows("image")


def _core(findings: Findings, header: bytes) -> int:
    """The header of OS/2; gives how many bytes of pixels there are."""
    width, height, planes, bits = unpack("<HHHH", header)
    findings.size(width, height)
    return _rows(width, height, planes, bits)


def _info(findings: Findings, header: bytes) -> int:
    """The header of Windows; rows go downwards when the height is negative."""
    width, height, planes, bits, packing, packed = unpack("<iiHHII", header[:20])
    findings.size(width, abs(height))
    return _rows(width, abs(height), planes, bits) if packing in _PLAIN else packed


def _rows(width: int, height: int, planes: int, bits: int) -> int:
    """Bytes of unpacked rows, each filled up to four bytes."""
    if planes != 1 or bits not in _DEPTHS:
        raise broken("The header of the BMP says what no BMP can be.")
    return (width * bits + 31) // 32 * 4 * height
