"""How many lines of one job reach its caller: pure."""

from __future__ import annotations

#: Lines that may come at once, and lines a second in the long run. What a person reads, and a training loop or a verbose library prints, is
#: far below; a loop that prints without end must not fill the store and the caller's stream.
BURST = 2000
RATE = 200.0


class Flow:
    """Lets so many lines through, and counts the others. After a flood it opens again when a second's worth of lines may pass."""

    __slots__ = ("_at", "_dry", "_tokens", "left_out")

    def __init__(self, now: float) -> None:
        self._tokens, self._at, self._dry = float(BURST), now, False
        self.left_out = 0

    def lets_through(self, now: float) -> bool:
        """Whether a line may pass at `now`, seconds of any steady clock."""
        self._tokens = min(float(BURST), self._tokens + (now - self._at) * RATE)
        self._at = now
        if self._tokens < (RATE if self._dry else 1):
            self._dry = True
            self.left_out += 1
            return False
        self._dry = False
        self._tokens -= 1
        return True

    def notice(self) -> str:
        """What is to be told of the lines left out, once; empty = none were."""
        count, self.left_out = self.left_out, 0
        if not count:
            return ""
        return f"{count:,} {'line' if count == 1 else 'lines'} left out: more than {BURST:,} at once and {RATE:,.0f} a second"
