"""Sound: WAV, FLAC, MP3 and Ogg.

What is missing at the end of FLAC and MP3 is not seen: their frames do not say how many there should be, and players play what is there.
"""

from __future__ import annotations

import re
from struct import unpack

from longrun.media.findings import Findings
from longrun.media.riff import chunks_end, next_chunk, past_chunk
from longrun.media.source import Reading, Source, broken

_OPEN, _NO_END = 0x7FFFF000, 1 << 62
_NOT_ZERO = re.compile(rb"[^\0]")
_ID3 = re.compile(rb"ID3[\x02-\x04].[\0-\xff][\0-\x7f]{4}", re.DOTALL)
#: Kilobits a second of MPEG 1 and of MPEG 2 (layer III), and samples a second of MPEG 1; MPEG 2 and 2.5 have a half and a quarter.
_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SAMPLES = (44_100, 48_000, 32_000)
#: So many frames in a row make an MP3.
_FRAMES = 3


def read_wav(source: Source, findings: Findings) -> Reading[None]:
    """Read to the end of the RIFF file, and see that nothing follows.

    Writers to a pipe leave the sizes open, and others put a wrong size of the whole in the header, which no player minds.
    """
    end = yield from chunks_end(source)
    open_end = _is_open(end - 8)
    seen: set[bytes] = set()
    while open_end or source.position < end:
        if b"data" in seen and (yield from source.at_end()):
            break
        name, size, last = yield from next_chunk(source, _NO_END)
        if name == b"data" and b"fmt " not in seen:
            raise broken("The sound of the WAV comes before its format.")
        if name == b"fmt " and size < 14:
            raise broken("The format of the WAV is too short.")
        seen.add(name)
        if name == b"data" and open_end and _is_open(size):
            yield from source.pass_on(None)
        else:
            yield from past_chunk(source, size, last)
    if b"data" not in seen:
        raise broken("It has no sound in it.")
    yield from source.nothing_follows("sound")


def _is_open(size: int) -> bool:
    """Whether a writer to a pipe put this size where it did not know any."""
    return not size or size >= _OPEN


def read_flac(source: Source, findings: Findings) -> Reading[None]:
    """Read the blocks in front, and see that sound follows."""
    yield from source.skip(4)
    first, last = True, False
    while not last:
        source.part()
        head = yield from source.take(4)
        last, kind, size = head[0] >= 0x80, head[0] & 0x7F, int.from_bytes(head[1:])
        if first != (kind == 0) or (first and size != 34) or kind == 0x7F:
            raise broken("The blocks of the FLAC are not in order.")
        yield from source.skip(size)
        first = False
    if not _is_flac_frame((yield from source.take(2))):
        raise broken("After the blocks of the FLAC comes no sound.")
    yield from source.pass_on(None)


def _is_flac_frame(data: bytes) -> bool:
    """Whether a frame begins so."""
    return data[0] == 0xFF and data[1] in {0xF8, 0xF9}


def read_mp3(source: Source, findings: Findings) -> Reading[None]:
    """Go past tags in front, and see that frames follow; FLAC may have such tags too."""
    while _ID3.match((yield from source.peek(10))):
        source.part()
        head = yield from source.take(10)
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        yield from source.skip(size + (10 if head[5] & 0x10 else 0))
        # some writers fill up more than they say
        yield from source.find(_NOT_ZERO, 1)
    if (yield from source.peek(4)) == b"fLaC":
        findings.format = "flac"
        yield from read_flac(source, findings)
        return
    for number in range(_FRAMES):
        if number and (yield from source.at_end()):
            break
        head = yield from source.take(4)
        if number and head[:3] == b"TAG":
            break
        length = mp3_frame(head)
        if length is None:
            raise broken("The frames of the MP3 do not follow each other.")
        yield from source.skip(length - 4)
    yield from source.pass_on(None)


def mp3_frame(head: bytes) -> int | None:
    """Bytes of the frame that begins with these four bytes; None: none begins so."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, rate, samples, filled = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or rate in {0, 15} or samples == 3:
        return None
    slow = {3: 1, 2: 2, 0: 4}[version]
    bits = (_RATES_1 if version == 3 else _RATES_2)[rate] * 1000
    return (144 if version == 3 else 72) * bits * slow // _SAMPLES[samples] + filled


def read_ogg(source: Source, findings: Findings) -> Reading[None]:
    """Read all pages."""
    while not (yield from source.at_end()):
        source.part()
        head = yield from source.take(27)
        name, version = unpack("<4sB", head[:5])
        if name != b"OggS" or version:
            raise broken("The pages of the Ogg do not follow each other.")
        yield from source.skip(sum((yield from source.take(head[26]))))
