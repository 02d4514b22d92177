"""Text in UTF-8, and what pages and drawings are made of: HTML, SVG, XML."""

from __future__ import annotations

import codecs
import re

from longrun.media.findings import Findings
from longrun.media.source import HELD, Reading, Source

#: What may stand before the first element. Nothing is given back once it is taken, so that each byte is looked at once.
_PROLOG = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\s++|<!--.*?-->|<\?(?!php).*?\?>"
    rb"|<!doctype\s++(?!html)[^>\[]*+(?:\[(?:[^\]]++|\](?!\s*+>))*+\]\s*+)?>)*+",
    re.DOTALL | re.IGNORECASE,
)
#: The first element.
_PAGE = re.compile(rb"<(?:!doctype\s+html|html|head|body|script|iframe)[\s/>]", re.IGNORECASE)
_DRAWING = re.compile(rb"<(?:[a-z]+:)?svg[\s/>]", re.IGNORECASE)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\s", re.IGNORECASE)


def read_text(source: Source, findings: Findings) -> Reading[None]:
    """Tell what it is by its start, and see that all of it is text; if not, it is of no format that we know."""
    start = yield from source.peek(HELD)
    kind = text_format(start)
    decoder = codecs.getincrementaldecoder("utf-8")()
    # what begins as a page is refused as one, whatever bytes follow
    findings.format = kind if start else ""

    def see(piece: bytes) -> None:
        if b"\0" in piece:
            raise _NotText
        decoder.decode(piece)

    try:
        yield from source.pass_on(None, see)
        decoder.decode(b"", final=True)
    except (UnicodeDecodeError, _NotText):
        findings.format = "" if kind == "text" else kind


class _NotText(Exception):
    """There is a zero byte in it."""


def text_format(start: bytes) -> str:
    """What text is that begins so: `html`, `svg`, `xml` or `text`."""
    prolog = _PROLOG.match(start)
    first = prolog.end() if prolog is not None else 0
    if _PAGE.match(start, first):
        return "html"
    if _DRAWING.match(start, first):
        return "svg"
    return "xml" if _XML.match(start) else "text"
