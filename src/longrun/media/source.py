"""Bytes that arrive in pieces, read as if they were all there.

Readers of formats are generators: a bare `yield` asks for the next piece, and everything here is used with `yield from`.
Nothing is asked for while what is needed is held, so that what a reader finds does not depend on how the file was cut into pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeVar

from longrun.media.facts import FlawRule

T = TypeVar("T")
#: Gets pieces, b"" once at the end; gives a result.
Reading = Generator[None, bytes, T]

#: The most that `take` and `peek` hold: more would make tiny pieces costly, and no header is longer.
HELD = 4096
_PADDING = re.compile(rb"[^\0\r\n]")
#: So many parts of any size are fine; beyond, parts of a file must have so many bytes on average. Real files are far from both.
_PARTS, _BYTES_PER_PART = 10_000, 64


class FlawedError(Exception):
    """The file breaks a rule: `rule` says which, the message is a sentence for the caller."""

    def __init__(self, rule: FlawRule, sentence: str) -> None:
        super().__init__(sentence)
        self.rule: FlawRule = rule


def broken(sentence: str) -> FlawedError:
    """The file is broken inside."""
    return FlawedError("format", sentence)


class Source:
    """What has arrived of a file and was not used yet.

    `data[at:]` is what is held; `position` is where that stands in the file.
    """

    __slots__ = ("_ended", "_parts", "_passed", "at", "data")

    def __init__(self) -> None:
        self.data, self.at, self._passed, self._ended, self._parts = b"", 0, 0, False, 0

    @property
    def position(self) -> int:
        """Bytes of the file that were used."""
        return self._passed + self.at

    def more(self) -> Reading[bool]:
        """Wait for the next piece; False at the end of the file, however often it is asked."""
        if self._ended:
            return False
        data = yield
        if not data:
            self._ended = True
            return False
        self._passed += self.at
        self.data, self.at = self.data[self.at :] + data, 0
        return True

    def peek(self, count: int) -> Reading[bytes]:
        """The next `count` bytes, which stay; fewer at the end."""
        while len(self.data) - self.at < count and (yield from self.more()):
            pass
        return self.data[self.at : self.at + count]

    def take(self, count: int) -> Reading[bytes]:
        """The next `count` bytes (`HELD` at most). Raises FlawedError: the file ends before."""
        found = yield from self.peek(count)
        if len(found) < count:
            raise self.ends_early()
        self.at += count
        return found

    def skip(self, count: int) -> Reading[None]:
        """Leave out `count` bytes. Raises FlawedError: the file ends before."""
        yield from self.pass_on(count)

    def pass_on(self, count: int | None, see: Callable[[bytes], object] | None = None) -> Reading[None]:
        """Let `see` look at the next `count` bytes in pieces; None = at all that is left. Raises FlawedError: the file ends before."""
        while count is None or count > 0:
            held = len(self.data) - self.at
            step = held if count is None else min(held, count)
            if see is not None and step:
                see(self.data[self.at : self.at + step])
            self.at += step
            count = count if count is None else count - step
            if count != 0 and not (yield from self.more()):
                if count is None:
                    return
                raise self.ends_early()

    def skip_to(self, position: int) -> Reading[None]:
        """Go on to a place further on. Raises FlawedError: the file ends before."""
        yield from self.skip(position - self.position)

    def find(self, pattern: re.Pattern[bytes], length: int) -> Reading[bool]:
        """Go on to the next match of a pattern that is `length` bytes long; False: there is none, and nothing is left."""
        while True:
            match = pattern.search(self.data, self.at)
            if match is not None:
                self.at = match.start()
                return True
            self.at = max(self.at, len(self.data) - length + 1)
            if not (yield from self.more()):
                self.at = len(self.data)
                return False

    def at_end(self) -> Reading[bool]:
        """Whether nothing is left."""
        return not (yield from self.peek(1))

    def nothing_follows(self, what: str) -> Reading[None]:
        """The file has to end here, apart from zero bytes and line ends. Raises FlawedError: it goes on."""
        if (yield from self.find(_PADDING, 1)):
            raise FlawedError("polyglot", f"Something follows the end of the {what}, from byte {self.position:,} on.")

    def part(self) -> None:
        """One more chunk, segment or block. Raises FlawedError: there are too many tiny ones, which are costly to read."""
        self._parts += 1
        if self._parts > _PARTS and self._parts * _BYTES_PER_PART > self.position:
            raise broken(f"It is cut into too many tiny parts ({self._parts:,} in {self.position:,} bytes).")

    def ends_early(self) -> FlawedError:
        """The file is not whole."""
        return FlawedError("complete", f"It is not whole: it ends too early, after {self._passed + len(self.data):,} bytes.")
