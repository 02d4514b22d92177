"""What the bytes of a file say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

FlawRule = Literal["complete", "polyglot", "format", ""]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the bytes say, as far as they were looked at.

    Args:
        format: `png`, `jpeg`, `gif`, `webp`, `bmp`, `tiff`, `wav`, `flac`, `mp3`, `ogg`, `m4a`, `pdf`, `zip`, `svg`, `psd`, `eps`, `html`,
            `text`, …; empty = none that we know.
        media_type: of the format; `application/octet-stream` when none is known.
        width, height: pixels, as the header says; the largest of all frames.
        frames: pictures in it that were seen so far.
        flaw: what is wrong with it, a sentence for the caller; empty = nothing.
        flaw_rule: which rule that breaks: `complete` (it ends too early), `polyglot` (it is something else too), `format` (broken inside).
    """

    format: str = ""
    media_type: str = "application/octet-stream"
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    flaw: str = ""
    flaw_rule: FlawRule = ""

    def to_json(self) -> dict[str, Any]:
        """Members that are set."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in found.items() if value not in (None, "")}

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> Facts:
        """The opposite of `to_json`; unknown members are left out."""
        return cls(**{name: value for name, value in members.items() if name in cls.__slots__})
