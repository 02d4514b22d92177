"""Refuses what replaces the standard library's sockets, threads and clocks: with it, jobs are accepted and never run."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longrun.errors import SettingsError
from longrun.models.place import file_of, is_authors

#: Library → the call that patches.
_CALLS = {"gevent": "gevent.monkey.patch_all()", "eventlet": "eventlet.monkey_patch()"}
_PARTS = ("_thread", "os", "queue", "select", "selectors", "signal", "socket", "subprocess", "thread", "threading", "time")
#: That import may bear another name where it is called.
_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t].*\b(?:gevent|eventlet)\b.*\b(?:monkey|patcher|monkey_patch)\b", re.MULTILINE)
_LINE = re.compile(r"^[^#\n]*\b(?:patch_(?:all|socket|thread|time|select|os|queue|subprocess|signal)|monkey_patch)\(", re.MULTILINE)


def refuse_patches(where: str) -> None:
    """Neither library is imported for that.

    Args:
        where: what was imported, for the message.

    Raises:
        SettingsError: gevent or eventlet has patched the standard library in this process.
    """
    for library in _patched():
        places = ", ".join(dict.fromkeys(_places())) or "a line that was not found"
        raise SettingsError(
            f"{where} cannot be served: {_CALLS[library]} has replaced parts of Python's standard library ({places}), and no job would "
            f"ever run. Remove that line: Longrun runs jobs in processes of their own, threads and asyncio, and needs no {library}"
        )


def _patched() -> Iterator[str]:
    gevent: Any = sys.modules.get("gevent.monkey")
    if gevent is not None and any(map(gevent.is_module_patched, _PARTS)):
        yield "gevent"
    eventlet: Any = sys.modules.get("eventlet.patcher")
    if eventlet is not None and any(map(eventlet.is_monkey_patched, _PARTS)):
        yield "eventlet"


def _places() -> Iterator[str]:
    """Lines of loaded modules that look like such a call, or else like its import, as `file:line`; installed packages apart."""
    for module in list(sys.modules.values()):
        file = file_of(module)
        if not file.endswith(".py") or not is_authors(file):
            continue
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        if found := _LINE.search(text) or _IMPORT.search(text):
            yield f"{file}:{text.count(chr(10), 0, found.start()) + 1}"
