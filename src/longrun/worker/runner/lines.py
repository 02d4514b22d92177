"""From what is written to a terminal to the lines that a reader would see there, and how many of them reach the caller: pure."""

from __future__ import annotations

#: Bytes of a line, or characters of a message, that are kept. A longer one is data, which belongs into the output.
LONGEST = 8192
#: Lines that may come at once, and lines a second in the long run. What a person reads, and a training loop or a verbose library prints, is
#: far below; a loop that prints without end must not fill the store and the caller's stream.
BURST = 2000
RATE = 200.0


class Lines:
    """Cuts one stream of bytes into lines.

    As on a terminal, what follows a carriage return takes the place of what was there: of a progress bar its last state is left. Blank
    lines are left out. Bytes that are no UTF-8 become U+FFFD, and so does NUL, which many readers of JSON do not bear.
    """

    __slots__ = ("_cut", "_line", "_returned")

    def __init__(self) -> None:
        self._line = bytearray()
        self._cut = 0
        self._returned = False

    def feed(self, data: bytes) -> list[str]:
        """The lines completed by `data`."""
        if b"\n" not in data:
            self._add(data)
            return []
        *ended, rest = data.split(b"\n")
        lines = []
        for part in ended:
            self._add(part)
            lines.append(self._take())
        self._add(rest)
        return [line for line in lines if line]

    def rest(self) -> str:
        """The line that was begun and not ended; empty if there is none."""
        return self._take()

    def _add(self, data: bytes) -> None:
        body = data.rstrip(b"\r")
        if body:
            at = body.rfind(b"\r")
            if at >= 0 or self._returned:
                self._line.clear()
                self._cut = 0
                body = body[at + 1 :]
            room = LONGEST - len(self._line)
            self._line += body[:room]
            self._cut += max(0, len(body) - room)
        if data:
            self._returned = data.endswith(b"\r")

    def _take(self) -> str:
        text = readable(self._line.decode("utf-8", "replace"))
        if self._cut:
            text += _mark(self._cut, "bytes")
        self._line.clear()
        self._cut, self._returned = 0, False
        return "" if text.isspace() else text


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
        """What the caller reads of the lines left out, once; empty = none were."""
        count, self.left_out = self.left_out, 0
        if not count:
            return ""
        return f"{count:,} {'line' if count == 1 else 'lines'} left out: more than {BURST:,} at once and {RATE:,.0f} a second"


def readable(text: str) -> str:
    """`text` with U+FFFD for what JSON or its readers cannot hold: half a character (as in outputs), NUL."""
    if text.isprintable():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd")


def shortened(text: str) -> str:
    """`text`, cut with a mark when it is too long for a message."""
    return text if len(text) <= LONGEST else text[:LONGEST] + _mark(len(text) - LONGEST, "characters")


def _mark(count: int, what: str) -> str:
    return f" … ({count:,} more {what} left out)"
