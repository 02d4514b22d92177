"""What a run has to say to its worker: gathered, and sent in frames of a bounded size, the next when those before are answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from longrun.models.steps.awaits import Step

#: A frame without its id and fence: kind, then the rest.
Frame = tuple[Any, ...]
#: Most entries of a frame (the store takes so many in one script), and bytes after which it is full.
_MOST, _LARGE = 100, 1 << 20


class Outbox:
    """What waits to be sent. Entries of the journal leave before the calls that come after them."""

    def __init__(self) -> None:
        self._seen = -1  # nothing was said of it yet
        self._number = 0
        self._asks: deque[tuple[Step, bool]] = deque()
        self._entries: deque[tuple[str, bytes, Sequence[str], Step | None]] = deque()
        self._others: list[Frame] = []
        self._asking = 0
        self.writing = 0  #: entries that somebody waits for until they are kept: the run goes on by itself then
        self._journals: dict[int, list[Step | None]] = {}

    @property
    def has_asks(self) -> bool:
        """Whether a step waits to be asked for."""
        return bool(self._asks)

    @property
    def busy(self) -> bool:
        """Whether an answer about steps is to come."""
        return bool(self._asking)

    def ask(self, step: Step, *, known: bool) -> None:
        """Ask for a step; `known`: the journal has it."""
        step.state = "to ask"
        self._asks.append((step, known))

    def journal(self, field: str, value: bytes, *, stop: Sequence[str] = (), kept: Step | None = None) -> None:
        """Write an entry, and stop these children in the same script; `kept` is returned by `kept` when that is done."""
        self._entries.append((field, value, stop, kept))
        self.writing += kept is not None

    def drop(self, keys: Sequence[str]) -> None:
        """Nobody waits for these any more."""
        self._others.append(("drop", list(keys)))

    def unsignal(self, name: str) -> None:
        """Forget the value of a signal."""
        self._others.append(("unsignal", name))

    def take(self, need: int, *, parked: bool) -> list[Frame]:
        """What is to be sent now. `need` > 0: the run waits then for so many ends, unless it does so already (`parked`)."""
        frames, self._others = self._others, []
        if not self._journals and self._entries:
            frames.append(self._journal_frame())
        if self._entries or self._asking:
            return frames
        calls = self._calls()
        if calls or (need and not parked):
            self._number += 1
            self._asking = self._number
            frames.append(("ask", self._number, self._seen, 0 if self._asks else need, 0, calls))
        return frames

    def rest(self) -> list[Frame]:
        """All that is still to be written, whatever was answered."""
        frames, self._others = self._others, []
        while self._entries:
            frames.append(self._journal_frame())
        return frames

    def answered(self, n: int, seen: int) -> None:
        """An answer has come; `seen` counts the ends that were told with it."""
        self._seen = seen
        if n == self._asking:
            self._asking = 0

    def kept(self, n: int, values: Sequence[bytes]) -> list[tuple[Step, bytes]]:
        """Who has waited until these entries were written, and the entries that count."""
        waiting = self._journals.pop(n, ())
        self.writing -= sum(step is not None for step in waiting)
        return [(step, value) for step, value in zip(waiting, values, strict=False) if step is not None]

    def _calls(self) -> list[list[Any]]:
        """What the journal has, or what it has not: should new steps be refused, all that is asked for with them is."""
        calls: list[list[Any]] = []
        size, known = 0, bool(self._asks) and self._asks[0][1]
        while self._asks and self._asks[0][1] == known and len(calls) < _MOST and size < _LARGE:
            step, _ = self._asks.popleft()
            if step.state == "to ask":
                step.state = "asked"
                calls.append([step.key, step.mark, *step.call])
                size += sum(len(part) for part in step.call if isinstance(part, bytes))
                if step.want.kind == "run":
                    step.call = ()
        return calls

    def _journal_frame(self) -> Frame:
        """Some entries. One with children that are to stop goes alone: they are stopped only if the first entry of a frame is ours."""
        entries: list[list[Any]] = []
        waiting: list[Step | None] = []
        size, stop = 0, self._entries[0][2]
        while self._entries and len(entries) < _MOST and size < _LARGE and not (entries and (stop or self._entries[0][2])):
            field, value, _, kept = self._entries.popleft()
            entries.append([field, value])
            waiting.append(kept)
            size += len(value)
        self._number += 1
        self._journals[self._number] = waiting
        return ("journal", self._number, entries, list(stop))
