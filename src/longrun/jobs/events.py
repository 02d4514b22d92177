"""Events as they are stored: `attempt at type data` in one string, so that neither scripts nor readers parse JSON to pass them on."""

from __future__ import annotations

from dataclasses import dataclass

TYPES = frozenset(
    {
        "queued", "started", "progress", "output", "step_output", "step", "log", "retrying", "waiting", "canceling", "gap", "done", "error",
    }
)  # fmt: skip
#: Those that bring values which a model has given.
OUTPUTS = frozenset({"output", "step_output"})


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's log.

    Args:
        seq: 1, 2, 3… without holes.
        attempt: the attempt that wrote it; 0 before the first.
        at: milliseconds since the epoch.
        type: one of `TYPES`. `error` is in no log: it ends a stream whose events were lost.
        data: JSON text.
    """

    seq: int
    attempt: int
    at: int
    type: str
    data: bytes


def gap(first: int, before: Event) -> Event:
    """What stands for the events from `first` to the one before `before`, which the log does not hold any longer.

    Its seq is that of the last of them, so that a reader that breaks off after it goes on with `before`.
    """
    last = before.seq - 1
    return Event(last, before.attempt, before.at, "gap", b'{"from":%d,"to":%d}' % (first, last))


def carried(note: bytes) -> list[Event]:
    """The events that a message of `note:<id>` brings along; none when it only says that there are some.

    Its form is `events <seq of the first>`, and then each event as it is stored, after a NUL (see `append.lua`).
    """
    head, *stored = note.split(b"\0")
    if not stored:
        return []
    first = int(head.removeprefix(b"events "))
    return [decode(first + i, text) for i, text in enumerate(stored)]


def decode(seq: int, stored: bytes) -> Event:
    """The event stored as `stored` at place `seq`."""
    attempt, at, kind, data = stored.split(b" ", 3)
    return Event(seq, int(attempt), int(at), kind.decode(), data or b"{}")
