"""The Lua scripts: read from `scripts/`, what each needs of the library in front of it, placeholders filled in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from types import MappingProxyType

from longrun.jobs.record import FIELDS, TREE_FIELDS
from longrun.store.formats import FORMAT

#: What stands in front of scripts, in this order: a definition names what comes before it.
LIBRARY = ("lib.lua", "lib_trees.lua", "lib_lanes.lua", "lib_steps.lua", "lib_ends.lua", "lib_burial.lua", "lib_processes.lua")
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)
#: A definition of the library, which begins a line, up to the next one; what it defines; and all that a text may name.
_DEFINITION = re.compile(r"^local .*?(?=^local |\Z)", re.MULTILINE | re.DOTALL)
_DEFINED = re.compile(r"local (?:function )?(\w+(?:, *\w+)*)")
_STRING = re.compile(r"'(?:\\.|[^'\\])*'")
_NAMES = re.compile(r"\w+")
#: At the end of the first line of a definition that is lazy, see there.
_LAZY = " -- lazy"


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
    def lazy(self) -> bool:
        """Whether what only it needs stands inside it: most runs of most scripts do not call it."""
        return self.text.partition("\n")[0].endswith(_LAZY)


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
    So what only a lazy definition needs is made inside it, when it is called.
    """
    script = _COMMENT.sub("", script)
    needed = _needed(definitions, _named(script), through=lambda definition: not definition.lazy)
    return "".join(_filled(definitions, each, needed) for each in needed) + script


def _needed(definitions: Sequence[Definition], names: frozenset[str], through: Callable[[Definition], bool]) -> list[Definition]:
    """The definitions of these names, and of those that they name; of those that `through` lets through."""
    named, needed = set(names), list[Definition]()
    for definition in reversed(definitions):
        if not named.isdisjoint(definition.defined):
            needed.append(definition)
            if through(definition):
                named |= definition.names
    return needed[::-1]


def _filled(definitions: Sequence[Definition], definition: Definition, outside: Sequence[Definition]) -> str:
    """The text of a definition; in that of a lazy one stands what it needs and nobody outside."""
    if not definition.lazy:
        return definition.text
    head, _, body = definition.text.partition("\n")
    inside = _needed(definitions, definition.names - definition.defined, through=lambda _: True)
    return head.removesuffix(_LAZY) + "\n" + "".join(each.text for each in inside if each not in outside) + body


def _named(text: str) -> frozenset[str]:
    """All words of a Lua text that are no part of a string (`'expire'` is the name of a key, and no use of the function `expire`)."""
    return frozenset(_NAMES.findall(_STRING.sub("", text)))


def _filled_in(ticket: str) -> str:
    """A template as a Lua expression: its texts and, for each placeholder, the variable of this name in lower case."""
    pieces = re.split("@([A-Z]+)@", ticket)
    return " .. ".join(f"'{_lua_quoted(each)}'" if index % 2 == 0 else each.lower() for index, each in enumerate(pieces))


def _lua_quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
