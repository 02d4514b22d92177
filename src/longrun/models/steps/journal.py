"""What a parent's journal holds, as text: which step was made by which code, at which place, with which input. Pure.

| value of a field                    | of a step that is                                                              |
|-------------------------------------|--------------------------------------------------------------------------------|
| `c <child> <epoch> <at> <mark>`     | a child                                                                        |
| `d <epoch> <at> <mark> <JSON>`      | done here; `@…` in the place of the JSON refers to a file                      |
| `f <epoch> <at> <mark> <failure>`   | failed here                                                                    |
| `b <epoch> <at> <mark> <attempt>`   | begun here, and must not be begun twice                                        |
| `t <due> <at> <mark>`               | a sleep                                                                        |
| `w <due> <at> <mark> <JSON>`        | a wait for a signal                                                            |

`at`, `due`: ms. Further fields: `x:<key>` = 1: the await of that step was canceled, in this epoch; `u:` and `v:` are not ours to read.
What is written has no epoch and no time, which the store adds: `<kind> <mark> <rest>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

#: Members of a value, without its mark and its rest: where the epoch and the time stand among them.
_EPOCH = {"c": 2, "d": 1, "f": 1, "b": 1, "t": None, "w": None}
_WITH_REST = ("d", "f", "b", "w")
DROPPED = "x:"


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a step was asked for, and with what.

    Args:
        code: digest of the source of the parent's module.
        place: of the call (see `branch`).
        digest: of model and input; empty: its input was not compared.
    """

    code: str
    place: str
    digest: str

    def __str__(self) -> str:
        return f"{self.code}~{self.place}~{self.digest}"

    @classmethod
    def of(cls, text: str) -> Self:
        """The opposite of `str`."""
        code, _, rest = text.partition("~")
        place, _, digest = rest.partition("~")
        return cls(code, place, digest)


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of the journal; `rest` is what follows the mark, `epoch` 0 where none is kept."""

    kind: str
    epoch: int
    at: int
    mark: Mark
    rest: bytes = b""


@dataclass(frozen=True, slots=True)
class History:
    """A journal as it was when the attempt began.

    Args:
        entries: by step key, in no order.
        ends: keys of children and signals in the order in which they ended.
        dropped: keys whose await was canceled in this epoch.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    ends: Sequence[str] = ()
    dropped: frozenset[str] = frozenset()

    @classmethod
    def of(cls, fields: Mapping[str, bytes], ends: Sequence[str]) -> Self:
        """From the fields of the store. What is not understood is left out: a later version may have written it."""
        entries = {key: entry for key, value in fields.items() if (entry := read_entry(value)) is not None}
        dropped = {key.removeprefix(DROPPED) for key, value in fields.items() if key.startswith(DROPPED) and value == b"1"}
        return cls(entries, tuple(ends), frozenset(dropped))


def read_entry(value: bytes) -> Entry | None:
    """A step's entry; None: the value is something else."""
    kind = value[:1].decode("latin-1")
    if kind not in _EPOCH or value[1:2] != b" ":
        return None
    size = 5 if kind == "c" else 4
    members = value.split(b" ", size if kind in _WITH_REST else -1)
    try:
        head = [each.decode() for each in members[:size]]
        where = _EPOCH[kind]
        return Entry(kind, int(head[where]) if where else 0, int(head[size - 2]), Mark.of(head[size - 1]), b" ".join(members[size:]))
    except (IndexError, ValueError):
        return None
