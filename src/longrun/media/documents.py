"""PDF, ZIP and gzip: whether they are whole, and nothing but that. Nothing is unpacked."""

from __future__ import annotations

import re

from longrun.media.findings import Findings
from longrun.media.source import FlawedError, Reading, Source

_PDF, _PDF_END, _ZIP_END = re.compile(rb"%PDF-"), re.compile(rb"%%EOF"), re.compile(rb"PK\x05\x06")
#: Readers look for the end of a PDF and of a ZIP in so many last bytes, and for the start of a PDF in so many first ones.
_PDF_TAIL, _PDF_HEAD, _ZIP_LEAST, _ZIP_TAIL = 1024, 1024, 22, 22 + 65_535


class _Last:
    """Where a mark of `length` bytes stands last in a file; what it begins has `least` bytes."""

    def __init__(self, pattern: re.Pattern[bytes], length: int, least: int) -> None:
        self._pattern, self._length, self._least = pattern, length, least
        self._tail, self._end = b"", 0
        self.position: int | None = None

    def see(self, data: bytes) -> None:
        """Look at the next bytes."""
        held, start = self._tail + data, self._end - len(self._tail)
        for match in self._pattern.finditer(held):
            self.position = start + match.start()
        self._tail, self._end = held[1 - self._length :], self._end + len(data)

    def within(self, count: int) -> bool:
        """Whether that is in the last `count` bytes, and whole."""
        return self.position is not None and self._least <= self._end - self.position <= count


def read_pdf(source: Source, findings: Findings) -> Reading[None]:
    """See that it has its end, and that a ZIP does not end there as well."""
    end, zipped = _Last(_PDF_END, 5, 5), _Last(_ZIP_END, 4, 4)

    def see(piece: bytes) -> None:
        end.see(piece)
        zipped.see(piece)

    yield from source.pass_on(None, see)
    if zipped.within(_ZIP_TAIL):
        raise FlawedError("polyglot", "It is a ZIP as well as a PDF.")
    if not end.within(_PDF_TAIL):
        raise source.ends_early()


def read_zip(source: Source, findings: Findings) -> Reading[None]:
    """See that it has its end, and that a PDF does not begin there as well."""
    head = yield from source.peek(_PDF_HEAD)
    end = _Last(_ZIP_END, 4, _ZIP_LEAST)
    yield from source.pass_on(None, end.see)
    if _PDF.search(head):
        raise FlawedError("polyglot", "It is a PDF as well as a ZIP.")
    if not end.within(_ZIP_TAIL):
        raise source.ends_early()


def read_gzip(source: Source, findings: Findings) -> Reading[None]:
    """See that it has a header and an end; the rest shows when it is unpacked."""
    yield from source.skip(18)
    yield from source.pass_on(None)


def read_any(source: Source, findings: Findings) -> Reading[None]:
    """Formats of which we know no more than how they begin."""
    yield from source.pass_on(None)
