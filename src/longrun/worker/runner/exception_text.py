"""An exception and those behind it as a text, as Python writes it, but of a bounded length.

What is read here are Python's own slots, which no class can replace: nothing in this module calls code of an author's. What only the
exceptions themselves can say is filled in by others (`raised`).
"""

from __future__ import annotations

import linecache
import stat
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from longrun.worker.runner.lines import readable

#: Most exceptions in a text, and of these in one chain of causes and of one group; most that are looked at otherwise.
_MOST, _LONGEST_CHAIN, _WIDEST, _MOST_IN_GROUP = 50, 16, 8, 10_000
#: Frames of a traceback that are shown: the first and the last ones.
_FIRST_FRAMES, _LAST_FRAMES = 12, 28
#: Characters: of the whole, of its name, and of a traceback's source file.
LONGEST, _LONGEST_NAME, _LARGEST_SOURCE = 16_000, 256, 4_000_000
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"

_slots = BaseException.__dict__
_traceback_of, _cause_of, _context_of, _no_context = (
    _slots[name].__get__ for name in ("__traceback__", "__cause__", "__context__", "__suppress_context__")
)
_exceptions_of = BaseExceptionGroup.__dict__["exceptions"].__get__
_name_of, _module_of = type.__dict__["__name__"].__get__, type.__dict__["__module__"].__get__


def plain_text(text: str) -> str:
    """The same as a `str`, and not of a class that is derived from it. Raises TypeError: it is no text."""
    return str.__str__(text)


def class_name(kind: type) -> str:
    """The name of a class, whatever its metaclass says."""
    return readable(plain_text(_name_of(kind))[:_LONGEST_NAME])


def cut(text: str, longest: int) -> str:
    """`text`; of one that is too long, the beginning and the end."""
    if len(text) <= longest:
        return text
    return f"{text[: longest // 4]}\n… ({len(text) - longest:,} characters left out) …\n{text[longest // 4 - longest :]}"


def before(error: BaseException) -> tuple[BaseException | None, str]:
    """The exception that Python shows before this one, and the sentence between them."""
    cause: BaseException | None = _cause_of(error)
    if cause is not None:
        return cause, _CAUSE
    return (None, "") if _no_context(error) else (_context_of(error), _CONTEXT)


def in_group(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those in it if it is a group, down to the last one."""
    todo = [error]
    for _ in range(_MOST_IN_GROUP):
        if not todo:
            return
        each = todo.pop()
        yield each
        if type.__subclasscheck__(BaseExceptionGroup, type(each)):
            todo += _exceptions_of(each)[:_MOST_IN_GROUP]


def connected(error: BaseException) -> Iterator[BaseException]:
    """The exception, those in it and those before any of them, each once: causes may form a ring."""
    todo, seen = [error], set[int]()
    while todo and len(seen) < _MOST_IN_GROUP:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo += [other for other in (_cause_of(each), _context_of(each)) if other is not None]
        if type.__subclasscheck__(BaseExceptionGroup, type(each)):
            todo += _exceptions_of(each)[:_MOST_IN_GROUP]


@dataclass(slots=True)
class Part:
    """One exception in the text.

    Args:
        error: itself.
        name: of its class.
        counts: it is what was raised, or in the group that was; not one that came before.
        text: its own words; None = it has not said any.
    """

    error: BaseException
    name: str
    counts: bool
    text: str | None = None

    def line(self) -> str:
        """As Python writes it: class and words."""
        module = _module_of(type(self.error))
        name = f"{plain_text(module)[:_LONGEST_NAME]}.{self.name}" if type(module) is str and module != "builtins" else self.name
        said = "(it, or others of its class, did not say in time what it is)" if self.text is None else self.text
        return f"{readable(name)}: {said}\n" if said else f"{readable(name)}\n"


class ExceptionText:
    """The text about an exception. What only the exceptions can say is put into its `parts`."""

    def __init__(self, error: BaseException) -> None:
        self.parts: list[Part] = []
        self._pieces: list[tuple[int, str | Part]] = []
        self._seen: set[int] = set()
        self._add(error, 0, counts=True)

    def text(self) -> str:
        """All of it, with what is known by now."""
        written = []
        for depth, piece in self._pieces:
            text, margin = piece if isinstance(piece, str) else piece.line(), "  | " * depth
            written.append("".join(f"{margin}{line}\n" for line in text.splitlines()) if depth else text)
        return cut("".join(written), LONGEST)

    def _add(self, error: BaseException, depth: int, *, counts: bool) -> None:
        if id(error) in self._seen:
            self._write(depth, f"{class_name(type(error))}: (it stands above)\n")
            return
        chain, sentence = list[tuple[BaseException, str]](), ""
        each: BaseException | None = error
        while each is not None and id(each) not in self._seen and len(chain) < _LONGEST_CHAIN and len(self._seen) < _MOST:
            self._seen.add(id(each))
            chain.append((each, sentence))
            each, sentence = before(each)
        if each is not None:
            self._write(depth, "(more is left out)\n")
        for each, sentence in reversed(chain):
            self._one(each, depth, counts=counts and each is error)
            if sentence:
                self._write(depth, sentence)

    def _one(self, error: BaseException, depth: int, *, counts: bool) -> None:
        frames = _frames(_traceback_of(error))
        if frames:
            self._write(depth, f"Traceback (most recent call last):\n{frames}")
        part = Part(error, class_name(type(error)), counts)
        self.parts.append(part)
        self._pieces.append((depth, part))
        if not type.__subclasscheck__(BaseExceptionGroup, type(error)):
            return
        inner = _exceptions_of(error)
        shown = inner[:_WIDEST]
        for number, each in enumerate(shown, 1):
            self._write(depth, f"  +---------------- {number} ----------------\n")
            self._add(each, depth + 1, counts=counts)
        if len(inner) > len(shown):
            self._write(depth, f"  +---- {len(inner) - len(shown):,} more exceptions are left out\n")

    def _write(self, depth: int, text: str) -> None:
        self._pieces.append((depth, text))


def _frames(first: TracebackType | None) -> str:
    head, tail = list[TracebackType](), deque[TracebackType](maxlen=_LAST_FRAMES)
    count, entry = 0, first
    while entry is not None:
        count += 1
        (head if len(head) < _FIRST_FRAMES else tail).append(entry)
        entry = entry.tb_next
    left_out = count - len(head) - len(tail)
    middle = [f"  ({left_out:,} more frames)\n"] if left_out else []
    return "".join([*_written(head), *middle, *_written(list(tail))])


def _written(entries: list[TracebackType]) -> list[str]:
    try:
        return [readable(cut(text, 1_000)) for text in traceback.StackSummary.from_list([_frame(each) for each in entries]).format()]
    except BaseException:  # in a line of the source that is no Python, say
        return [f'  File "{readable(each.tb_frame.f_code.co_filename[:1_000])}", line {each.tb_lineno}\n' for each in entries]


def _frame(entry: TracebackType) -> Any:
    # Not by `traceback.extract_tb`, which asks the module's own `__loader__` for the source.
    code = entry.tb_frame.f_code
    file, name = plain_text(code.co_filename), plain_text(code.co_name)[:_LONGEST_NAME]
    if not _has_source(file):
        return traceback.FrameSummary(file, entry.tb_lineno, name, lookup_line=False, line="")
    at = max(0, entry.tb_lasti) // 2
    line, end, column, end_column = next(islice(code.co_positions(), at, None), (None, None, None, None))
    where = {"end_lineno": end, "colno": column, "end_colno": end_column} if line == entry.tb_lineno else {}
    return traceback.FrameSummary(file, entry.tb_lineno, name, lookup_line=False, **where)  # type: ignore[arg-type]


def _has_source(file: str) -> bool:
    """Whether lines of it can be read in no time: a name may be that of a pipe or of an endless device."""
    try:
        found = Path(file).stat()
    except (OSError, ValueError):
        return len(linecache.cache.get(file, ())) > 1  # somebody has put them there
    linecache.checkcache(file)
    return stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST_SOURCE
