"""What a file is, by its first bytes; never by its name."""

from __future__ import annotations

from collections.abc import Callable

from longrun.media.audio import mp3_frame, read_flac, read_mp3, read_ogg, read_wav
from longrun.media.bmp import HEADERS, read_bmp
from longrun.media.containers import brand_format, read_ebml, read_mp4
from longrun.media.documents import read_any, read_gzip, read_pdf, read_zip
from longrun.media.findings import Findings
from longrun.media.gif import read_gif
from longrun.media.jpeg import read_jpeg
from longrun.media.png import read_png
from longrun.media.source import Reading, Source
from longrun.media.text import read_text
from longrun.media.tiff import read_tiff
from longrun.media.webp import read_webp

Reader = Callable[[Source, Findings], Reading[None]]

#: So many first bytes tell.
HEAD = 32
_MAGIC: tuple[tuple[bytes, str, Reader], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png", read_png),
    (b"\xff\xd8\xff", "jpeg", read_jpeg),
    (b"GIF87a", "gif", read_gif),
    (b"GIF89a", "gif", read_gif),
    (b"II*\0", "tiff", read_tiff),
    (b"MM\0*", "tiff", read_tiff),
    (b"II+\0", "tiff", read_tiff),
    (b"MM\0+", "tiff", read_tiff),
    (b"8BPS", "psd", read_any),
    (b"%!PS", "eps", read_any),
    (b"\xc5\xd0\xd3\xc6", "eps", read_any),
    (b"\0\0\1\0", "ico", read_any),
    (b"fLaC", "flac", read_flac),
    (b"ID3\2", "mp3", read_mp3),
    (b"ID3\3", "mp3", read_mp3),
    (b"ID3\4", "mp3", read_mp3),
    (b"OggS\0", "ogg", read_ogg),
    (b"\x1a\x45\xdf\xa3", "webm", read_ebml),
    (b"\xff\xf1", "aac", read_any),
    (b"\xff\xf9", "aac", read_any),
    (b"%PDF-", "pdf", read_pdf),
    (b"PK\3\4", "zip", read_zip),
    (b"PK\5\6", "zip", read_zip),
    (b"\x1f\x8b\x08", "gzip", read_gzip),
)
_FORMS: dict[tuple[bytes, bytes], tuple[str, Reader]] = {
    (b"RIFF", b"WEBP"): ("webp", read_webp),
    (b"RIFF", b"WAVE"): ("wav", read_wav),
    (b"RF64", b"WAVE"): ("wav", read_wav),
    (b"FORM", b"AIFF"): ("aiff", read_any),
    (b"FORM", b"AIFC"): ("aiff", read_any),
}


def recognize(head: bytes) -> tuple[str, Reader]:
    """The format of a file that begins so, and what reads it; which text it is, is found by its reader."""
    for magic, name, reader in _MAGIC:
        if head.startswith(magic):
            return name, reader
    if (head[:4], head[8:12]) in _FORMS:
        return _FORMS[head[:4], head[8:12]]
    if head[4:8] == b"ftyp":
        return brand_format(head[8:12]), read_mp4
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in HEADERS:
        return "bmp", read_bmp
    if mp3_frame(head[:4]) is not None:
        return "mp3", read_mp3
    return "", read_text


def read_file(source: Source, findings: Findings) -> Reading[None]:
    """Tell what a file is, and read it."""
    head = yield from source.peek(HEAD)
    findings.format, reader = recognize(head)
    yield from reader(source, findings)
