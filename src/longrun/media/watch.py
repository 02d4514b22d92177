"""Finds, in pictures and sound, what would make them something else too: pages, scripts, documents, archives.

Looked for in every byte, because what opens such a file does not care in which part of a picture it stands. The marks are so long that
compressed data holds one by chance once in 2^40 bytes. XMP, plists and other harmless XML pass. Compressed text (PNG zTXt) is not unpacked.
"""

from __future__ import annotations

import re

#: Zero bytes are left out, so that UTF-16 is seen as well; letters are made small.
_SMALL = bytes(range(256)).lower()
_MARKUP = re.compile(
    rb"<(?:script|iframe|html[\s/>]|\?php\s|!doctype(?:\s{8}|\s{1,7}(?:html|svg))"
    rb"|svg(?:>\s{0,7}<|[\s/]{8}|[\s/]{1,7}(?:xml|on|width|height|viewbox|version|id=|class|style)))"
    rb"|javascript:|%pdf-\d"
)
#: The end of a ZIP (as many entries on this disk as in all), RAR, 7z.
_ARCHIVE = re.compile(rb"PK\x05\x06.{4}(..)\1|Rar!\x1a\x07|7z\xbc\xaf\x27\x1c", re.DOTALL)
_ARCHIVE_STARTS = (b"PK\x05\x06", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")
_LONGEST = 24


class Watch:
    """Looks at all bytes of a file, in pieces of any size."""

    __slots__ = ("_archive", "_markup", "_raw", "_text")

    def __init__(self) -> None:
        self._raw, self._text = b"", b""
        self._markup, self._archive = "", ""

    @property
    def found(self) -> str:
        """What is hidden in it, for people; empty = nothing so far."""
        return self._markup or self._archive

    def see(self, data: bytes) -> None:
        """Look at the next bytes."""
        if not self._markup:
            text = self._text + data.translate(_SMALL, b"\0")
            match = _MARKUP.search(text)
            self._markup = "" if match is None else repr(match[0].decode("latin-1").strip())
            self._text = text[-_LONGEST:]
        if not self._archive:
            raw = self._raw + data
            self._archive = "an archive" if _holds_archive(raw) else ""
            self._raw = raw[-_LONGEST:]


def _holds_archive(raw: bytes) -> bool:
    """Plain searches first: they are ten times as fast as the pattern."""
    return any(start in raw for start in _ARCHIVE_STARTS) and _ARCHIVE.search(raw) is not None
