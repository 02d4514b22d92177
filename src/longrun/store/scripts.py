"""The Lua scripts: read from `scripts/`, what each needs of the library in front of it, placeholders filled in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from types import MappingProxyType

from longrun.jobs.record import FIELDS, TREE_FIELDS
from longrun.store.formats import FORMAT

#: What stands in front of scripts, in this order: a definition names what comes before it.
LIBRARY = ("lib.lua", "lib_trees.lua", "lib_lanes.lua", "lib_steps.lua", "lib_ends.lua", "lib_burial.lua", "lib_processes.lua")
#: Functions that plain jobs do not call, or once in a long while.
RARE = frozenset(
    {
        "flow_of",
        "take_from_tree",
        "end_orphan",
        "child_ended",
        "leave_steps",
        "sleep_on",
        "take_over",
        "leave_tree",
        "expire",
        "count_items",
    }
)
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)
#: A definition of the library, which begins a line, up to the next one; what it defines; and all that a text may name.
_DEFINITION = re.compile(r"^local .*?(?=^local |\Z)", re.MULTILINE | re.DOTALL)
_DEFINED = re.compile(r"local (?:function )?(\w+(?:, *\w+)*)")
_STRING = re.compile(r"'(?:\\.|[^'\\])*'")
_NAMES = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Script:
    """A script ready to be sent."""

    name: str
    source: bytes
    sha: str


@dataclass(frozen=True, slots=True)
class Definition:
    """A piece of the library: its text, the names that it defines, and all names in it."""

    text: str
    defined: frozenset[str]
    names: frozenset[str]

    @property
    def rare(self) -> bool:
        """Whether it is one of `RARE`."""
        return not self.defined.isdisjoint(RARE)


@lru_cache(maxsize=8)
def load_scripts(prefix: str, ticket: str, format: int = FORMAT) -> Mapping[str, Script]:
    """All scripts by name. They are put together once for each prefix, ticket and format: every store of a process has the same ones.

    Args:
        prefix: prefix of every key.
        ticket: the Celery message of a ticket with the placeholders `@ID@ @MODEL@ @LANE@ @LEVEL@`; written into the scripts once,
            so that a submit sends an id over the wire and not 800 bytes of message.
        format: of the data, see `store.formats`: `FORMAT` in a script.
    """
    texts = dict(_texts())
    fields, more = (", ".join("output" if name == "output" else f"'{name}'" for name in names) for names in (FIELDS, TREE_FIELDS))
    library = "".join(texts.pop(name) for name in LIBRARY)
    library = (
        library.replace("@PREFIX@", prefix).replace("@FORMAT@", str(format)).replace("@FIELDS@", fields).replace("@TREE_FIELDS@", more)
    )
    definitions = parse_library(library.replace("@TICKET@", _filled_in(ticket)))
    scripts = {}
    for file, text in texts.items():
        name = file.removesuffix(".lua")
        source = with_library(definitions, text).encode()
        scripts[name] = Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest())
    return MappingProxyType(scripts)


@cache
def _texts() -> Mapping[str, str]:
    """The files, read once: when the format is raised, another version may have been installed over them."""
    folder = resources.files("longrun.store") / "scripts"
    return {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".lua")}


def parse_library(library: str) -> Sequence[Definition]:
    """The definitions of the library in their order, without comments."""
    found = []
    for text in _DEFINITION.findall(_COMMENT.sub("", library)):
        defined = _DEFINED.match(text)
        names = frozenset(_NAMES.findall(defined[1] if defined else ""))
        found.append(Definition(text, names, _named(text)))
    return found


def with_library(definitions: Sequence[Definition], script: str) -> str:
    """A script behind the definitions that it names, and those that they name; without comments.

    The server makes all functions of the text anew in every run: the whole library costs 3 µs a run, more than most scripts themselves.
    What only a function of `RARE` names is made inside it, when it is called.
    """
    script = _COMMENT.sub("", script)
    needed = _needed(definitions, _named(script))
    return "".join([_text(definitions, at, needed) for at in sorted(needed)] + [script])


def _needed(definitions: Sequence[Definition], names: frozenset[str]) -> set[int]:
    """Places of the definitions that make these names, and those that they name themselves, but for what rare ones name."""
    named, needed = set(names), set[int]()
    for at in reversed(range(len(definitions))):
        if not named.isdisjoint(definitions[at].defined):
            needed.add(at)
            if not definitions[at].rare:
                named |= definitions[at].names
    # One value for all who name it: it is no function.
    for at in [at for at in needed if definitions[at].rare]:
        inside = _needed(definitions[:at], definitions[at].names)
        needed |= {each for each in inside if not definitions[each].text.startswith("local function")}
    return needed


def _text(definitions: Sequence[Definition], at: int, outside: set[int]) -> str:
    """The text of a definition; what a rare one needs beside those that stand `outside` stands at its beginning."""
    definition = definitions[at]
    if not definition.rare:
        return definition.text
    inside = sorted(_needed(definitions[:at], definition.names) - outside)
    head, _, body = definition.text.partition("\n")
    return "\n".join([head, "".join(_text(definitions, each, {*outside, *inside}) for each in inside) + body])


def _named(text: str) -> frozenset[str]:
    """All words of a Lua text that are no part of a string (`'expire'` is the name of a key, and no use of the function `expire`)."""
    return frozenset(_NAMES.findall(_STRING.sub("", text)))


def _filled_in(ticket: str) -> str:
    """A template as a Lua expression: its texts and, for each placeholder, the variable of this name in lower case."""
    pieces = re.split("@([A-Z]+)@", ticket)
    return " .. ".join(f"'{_lua_quoted(each)}'" if index % 2 == 0 else each.lower() for index, each in enumerate(pieces))


def _lua_quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
