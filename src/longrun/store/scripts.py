"""The Lua scripts: read from `scripts/`, `lib.lua` in front of each, placeholders filled in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

from longrun.jobs.record import FIELDS


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
    library = (folder / "lib.lua").read_text("utf-8")
    library = library.replace("@PREFIX@", prefix).replace("@FIELDS@", fields).replace("@TICKET@", _lua_quoted(ticket))
    scripts = {}
    for file in folder.iterdir():
        name = file.name.removesuffix(".lua")
        if name != "lib" and file.name.endswith(".lua"):
            source = (library + "\n" + file.read_text("utf-8")).encode()
            scripts[name] = Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest())
    return scripts


def _lua_quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
