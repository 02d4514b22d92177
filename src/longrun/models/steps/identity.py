"""Which step of the journal a call is: by its name, else by its content, else, in the same code, by its place. Pure.

Content comes before place: calls that are made in another order than before keep their results. Place is for inputs that differ at each
run (a clock, a random number), which would otherwise be paid for again at each replay. It counts only in the code that has written the
entry: in other code another call may stand there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from longrun.errors import StepConflict
from longrun.models.steps.awaits import Want
from longrun.models.steps.journal import Entry

#: Beginnings of the keys of named steps, by kind.
_NAMED = {"run": "n:", "local": "l:", "wait": "s:"}
#: Of local steps with a key of our own.
_OURS = ("now:", "first:")
_WITH_NAME = (*_NAMED.values(), *_OURS)
_RESERVED = frozenset(("n", "l", "s", "v", "x", "now", "first"))


@dataclass(frozen=True, slots=True)
class Found:
    """The step that a call is.

    Args:
        key: in the journal.
        entry: None: it is new.
        changed: its input is another than that of the entry.
    """

    key: str
    entry: Entry | None = None
    changed: bool = False


class Identities:
    """The steps of one attempt, found in the journal of those before it.

    Args:
        entries: the journal as it was when the attempt began.
        code: digest of the source of the parent's module, as it is now.
    """

    def __init__(self, entries: Mapping[str, Entry], code: str) -> None:
        self._entries = entries
        self._names: dict[str, Want] = {}
        #: Of unnamed steps that no call has been yet, in the order of their numbers.
        self._by_content: dict[tuple[str, ...], dict[str, None]] = {}
        self._by_place: dict[str, dict[str, None]] = {}
        self._numbers: dict[str, int] = {}
        self._left: dict[str, int] = {}
        self._unused = {key for key, entry in entries.items() if entry.kind in "cdf" and not key.startswith(_OURS)}
        for base, number, key in sorted((*_parts(key), key) for key, entry in entries.items() if _is_unnamed(key, entry)):
            mark, group = entries[key].mark, group_of(entries[key])
            for index in ((base,), (base, mark.place)):
                self._by_content.setdefault(index, {})[key] = None
            if code and mark.code == code:
                self._by_place.setdefault(mark.place, {})[key] = None
            self._numbers[base] = number + 1
            self._left[group] = self._left.get(group, 0) + 1

    def named(self, want: Want) -> Found:
        """The step that a named call is.

        Raises:
            StepConflict: another call of this attempt has the name.
        """
        key = self._key_of_name(want)
        before = self._names.setdefault(_NAMED[want.kind] + want.name, want)
        self._use(key)
        if before is not want and want.kind != "wait" and (before.group != want.group or _differ(before.digest, want.digest)):
            raise StepConflict(want.name, before.group, want.group)
        entry = self._entries.get(key)
        return Found(key, entry, entry is not None and want.kind != "wait" and _differ(entry.mark.digest, want.digest))

    def _key_of_name(self, want: Want) -> str:
        key = _NAMED[want.kind] + want.name
        entry = self._entries.get(key)
        # Another model: its output would not be this one's. The old step stays, unused.
        return key if entry is None or want.kind != "run" or group_of(entry) == want.group else f"{key}@{want.group}"

    def decide(self, wants: Iterable[Want], *, sure: bool) -> list[Found | None]:
        """The steps that unnamed calls are; None: not yet to be said.

        Args:
            wants: calls of which none was decided before.
            sure: no other branch has anything to ask: what is not found now is a new step.
        """
        calls = list(wants)
        found: list[Found | None] = [None] * len(calls)
        # Whoever matches better is asked first, over all calls: then nobody takes what is another's.
        for look in (self._same_call, self._same_content, self._same_place) if sure else (self._same_call,):
            found = [each or look(want) for each, want in zip(found, calls, strict=True)]
        return [
            each or (self._new(want) if sure or not self._left.get(want.group) else None) for each, want in zip(found, calls, strict=True)
        ]

    def unused(self) -> list[str]:
        """Keys of children and local steps that no call of this attempt was."""
        return [key for key in self._entries if key in self._unused]

    @property
    def all_used(self) -> bool:
        """Whether each step of the journal was asked for again."""
        return not self._unused

    def _same_call(self, want: Want) -> Found | None:
        return self._take(self._by_content.get((_base(want), want.place), {}), want)

    def _same_content(self, want: Want) -> Found | None:
        return self._take(self._by_content.get((_base(want),), {}), want)

    def _same_place(self, want: Want) -> Found | None:
        free = self._by_place.get(want.place, {})
        latest = max(free, key=lambda key: self._entries[key].at, default="")
        return self._take({latest: None} if latest else {}, want)

    def _take(self, free: Mapping[str, None], want: Want) -> Found | None:
        key = next(iter(free), "")
        if not key:
            return None
        entry, base = self._entries[key], _parts(key)[0]
        for index in ((base,), (base, entry.mark.place)):
            self._by_content[index].pop(key, None)
        self._by_place.get(entry.mark.place, {}).pop(key, None)
        self._left[want.group] -= 1
        self._use(key)
        return Found(key, entry, _differ(entry.mark.digest, want.digest))

    def _new(self, want: Want) -> Found:
        number = self._numbers.get(_base(want), 0)
        self._numbers[_base(want)] = number + 1
        key = f"{_base(want)}:{number}"
        self._use(key)
        return Found(key)

    def _use(self, key: str) -> None:
        self._unused.discard(key)


def group_of(entry: Entry) -> str:
    """The model of a child, as its place says."""
    return entry.mark.place.rpartition(":")[2].rpartition(".")[0]


def _base(want: Want) -> str:
    """The key without its number. Model names hold no dot, so a dot tells one that is called like a beginning of ours."""
    return f"{'.' * (want.group in _RESERVED)}{want.group}:{want.digest}"


def _parts(key: str) -> tuple[str, int]:
    base, _, number = key.rpartition(":")
    return base, int(number) if number.isdecimal() else 0


def _is_unnamed(key: str, entry: Entry) -> bool:
    return entry.kind in "cdt" and not key.startswith(_WITH_NAME)


def _differ(one: str, other: str) -> bool:
    return one != other and bool(one and other)
