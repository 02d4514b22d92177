"""Reading a file as it passes."""

from __future__ import annotations

from dataclasses import replace

from longrun.media.detect import read_file
from longrun.media.facts import Facts
from longrun.media.findings import Findings
from longrun.media.source import FlawedError, Source
from longrun.media.types import of_kind
from longrun.media.watch import Watch

_WATCHED = {*of_kind("image"), *of_kind("audio")}


class Scanner:
    """Looks at the bytes of one file, in pieces of any size.

    Holds 64 KB at most, takes time in proportion to what it is fed, and never raises for it.
    """

    def __init__(self) -> None:
        self._source, self._findings, self._watch = Source(), Findings(), Watch()
        self._reading = read_file(self._source, self._findings)
        self._reads, self._watches = True, True
        self._facts = Facts()
        next(self._reading)

    def feed(self, data: bytes) -> Facts:
        """Look at the next bytes: what is known so far."""
        if not data:  # to the reader, nothing is the end
            return self._facts
        if self._watches:
            self._watch.see(data)
        if self._reads:
            self._read(data)
            self._know()
        elif self._watch.found:
            self._know()
        return self._facts

    def close(self) -> Facts:
        """The file has ended: what is known of it."""
        if self._reads:
            self._read(b"")
        self._know()
        return self._facts

    def _read(self, data: bytes) -> None:
        """Give the reader what it waits for. When it has ended, nothing is held any more."""
        try:
            self._reading.send(data)
        except StopIteration:
            self._reads = False
        except FlawedError as flaw:
            self._findings.flawed(flaw.rule, str(flaw))
            self._reads = False
        if not self._reads:
            self._source = Source()

    def _know(self) -> None:
        """Take what was found. What is hidden counts more than what is broken, however the file was cut into pieces."""
        self._facts = self._findings.facts()
        self._watches = not self._watch.found and (self._facts.format in _WATCHED or (self._reads and self._facts.format in {"", "mp4"}))
        if self._watch.found and self._facts.format in _WATCHED:
            self._facts = replace(self._facts, flaw=f"Something else is hidden in it: {self._watch.found}.", flaw_rule="polyglot")
