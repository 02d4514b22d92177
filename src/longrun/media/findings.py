"""What was found out of a file so far."""

from __future__ import annotations

from dataclasses import dataclass

from longrun.media.facts import Facts, FlawRule
from longrun.media.source import broken
from longrun.media.types import media_type


@dataclass(slots=True)
class Findings:
    """Facts while they are gathered (see `Facts`)."""

    format: str = ""
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    flaw: str = ""
    flaw_rule: FlawRule = ""

    def size(self, width: int, height: int) -> None:
        """A picture of this size is in it. Raises FlawedError: no picture can be so."""
        if width <= 0 or height <= 0:
            raise broken(f"Its size is {width:,} × {height:,} pixels.")
        self.width, self.height = max(width, self.width or 0), max(height, self.height or 0)

    def frame(self) -> None:
        """One more picture is in it."""
        self.frames = (self.frames or 0) + 1

    def flawed(self, rule: FlawRule, sentence: str) -> None:
        """The first flaw stays."""
        if not self.flaw:
            self.flaw, self.flaw_rule = sentence, rule

    def facts(self) -> Facts:
        """As they are now."""
        return Facts(self.format, media_type(self.format), self.width, self.height, self.frames, self.flaw, self.flaw_rule)
