"""The Lua scripts: read from `scripts/`, what each needs of the library in front of it, placeholders filled in."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

from longrun.jobs.record import FIELDS

#: What stands in front of scripts, in this order: a definition names what comes before it.
LIBRARY = ("lib.lua", "lib_ends.lua")
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)
#: A definition of the library, which begins a line, up to the next one; what it defines; and all that a text may name.
_DEFINITION = re.compile(r"^local .*?(?=^local |\Z)", re.MULTILINE | re.DOTALL)
_DEFINED = re.compile(r"local (?:function )?(\w+(?:, *\w+)*)")
_NAMES = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Script:
    """A script ready to be sent."""

    name: str
    source: bytes
    sha: str


def load_scripts(prefix: str, ticket: str) -> dict[str, Script]:
    """All scripts by name.

    Args:
        prefix: prefix of every key.
        ticket: the Celery message of a ticket with the placeholders `@ID@ @MODEL@ @LANE@ @LEVEL@`; written into the scripts once,
            so that a submit sends an id over the wire and not 800 bytes of message.
    """
    folder = resources.files("longrun.store") / "scripts"
    fields = ", ".join(f"'{name}'" for name in FIELDS)
    library = "".join((folder / name).read_text("utf-8") for name in LIBRARY)
    library = library.replace("@PREFIX@", prefix).replace("@FIELDS@", fields).replace("@TICKET@", _filled_in(ticket))
    scripts = {}
    for file in folder.iterdir():
        name = file.name.removesuffix(".lua")
        if file.name not in LIBRARY and file.name.endswith(".lua"):
            source = with_library(library, file.read_text("utf-8")).encode()
            scripts[name] = Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest())
    return scripts


def with_library(library: str, script: str) -> str:
    """A script behind the definitions of `library` that it names, and those that they name; without comments.

    The server makes all functions of the text anew in every run: the whole library costs 3 µs a run, more than most scripts themselves.
    """
    script = _COMMENT.sub("", script)
    named, needed = set(_NAMES.findall(script)), [script]
    for definition in reversed(_DEFINITION.findall(_COMMENT.sub("", library))):
        defined = _DEFINED.match(definition)
        if defined is not None and not named.isdisjoint(_NAMES.findall(defined[1])):
            named.update(_NAMES.findall(definition))
            needed.append(definition)
    return "".join(reversed(needed))


def _filled_in(ticket: str) -> str:
    """A template as a Lua expression: its texts and, for each placeholder, the variable of this name in lower case."""
    pieces = re.split("@([A-Z]+)@", ticket)
    return " .. ".join(f"'{_lua_quoted(each)}'" if index % 2 == 0 else each.lower() for index, each in enumerate(pieces))


def _lua_quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
