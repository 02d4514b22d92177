"""Names of files as callers give them: made safe to show and to send in a header. They are never used as a path."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

LONGEST = 200
#: Longer ones are cut before anything else is done with them: ordering accents takes time that grows faster than their number.
_CUT = 1000
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,16})$")
#: Controls, format characters (zero width, right-to-left), lone surrogates, private and unassigned ones, ends of lines and paragraphs.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
#: The look-behind keeps the search linear: a run is tried at its first character only.
_EDGES = re.compile(r"^[.\s]+|(?<![.\s])[.\s]+$")
_NOT_IN_NAMES = re.compile(r'[<>:"|?*]')
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)\s*(?:\.|$)", re.IGNORECASE)
#: RFC 8187, attr-char, besides letters and digits.
_PLAIN = "!#$&+-.^_`|~"


def safe_name(text: str) -> str:
    """A file name for showing: without folders, hidden characters and what systems give a meaning of their own; at most 200 characters.

    Empty when nothing is left.
    """
    text = re.split(r"[/\\]", text)[-1]
    if len(text) > _CUT:
        text = text[: _CUT - LONGEST] + text[-LONGEST:]
    text = "".join(letter for letter in text if unicodedata.category(letter) not in _HIDDEN)
    text = _NOT_IN_NAMES.sub("_", unicodedata.normalize("NFC", text))
    text = _trimmed(text)
    return _shortened(f"_{text}" if _DEVICE.match(text) else text)


def extension(name: str) -> str:
    """How a name ends, in small letters and without the dot; empty = it has no ending."""
    found = _EXTENSION.search(safe_name(name))
    return found[1].lower() if found else ""


def content_disposition(name: str) -> str:
    """The header that makes browsers save a file under this name (RFC 6266, RFC 8187)."""
    name = safe_name(name)
    if not name:
        return "attachment"
    # `%` would be unescaped by some browsers; quotes and backslashes would end or escape
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r'["\\%]|[^ -~]', "_", plain)
    stem, dot, ending = plain.rpartition(".") if "." in plain else (plain, "", "")
    plain = plain if any(map(str.isalnum, stem)) else f"file{dot}{ending}"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_PLAIN)}"


def _trimmed(text: str) -> str:
    """Without leading dots (hidden files) and without dots and spaces at the end, which Windows leaves out."""
    return _EDGES.sub("", text)


def _shortened(text: str) -> str:
    """At most so many characters, the ending among them."""
    if len(text) <= LONGEST:
        return text
    found = _EXTENSION.search(text)
    ending = found[0] if found else ""
    return _trimmed(text[: LONGEST - len(ending)]) + ending
