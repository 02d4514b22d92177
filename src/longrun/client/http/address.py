"""Where the server is, and with which key it is called."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from longrun.version import API_PREFIX

#: `NAME=value`, with or without `export`, quotes and a comment. Nothing but a comment follows a closing quote.
_DOTENV_LINE = re.compile(
    r"""^[^\S\n]*(?:export[^\S\n]+)?([^=#\s]+)[^\S\n]*=(?:[^\S\n]+(?=#)|[^\S\n]*(?:'((?:\\.|[^'\\])*)'|"((?:\\.|[^"\\])*)"|"""
    r"""(?![^\S\n]*['"])([^\n]*)))[^\S\n]*(?:#[^\n]*)?$""",
    re.MULTILINE | re.DOTALL,
)
_SINGLE_ESCAPES, _DOUBLE_ESCAPES = re.compile(r"\\[\\']"), re.compile(r"\\[\\'\"abfnrtv]")
#: `${NAME}` or `${NAME:-default}`
_DOTENV_REFERENCE = re.compile(r"\$\{([^}:]*)(?::-([^}]*))?\}")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def server_url(url: str | None) -> str:
    """The server's URL: as given, or LONGRUN_URL, or this machine at LONGRUN_PORT; the variables may stand in `.env`.

    Raises:
        ValueError: it is not an http or https URL.
    """
    port = setting("LONGRUN_PORT")
    chosen = url or setting("LONGRUN_URL") or f"http://127.0.0.1:{port if port not in ('', '0') else 8000}"
    try:
        parts = urlsplit(chosen)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and chosen.isprintable() and " " not in chosen
    except ValueError:  # a port that is no number, brackets that do not close
        good = False
    if not good:
        raise ValueError(f"{chosen!r} is not the URL of a server; write it as http://127.0.0.1:8000")
    return chosen.rstrip("/").removesuffix(API_PREFIX)


def server_key(key: str | None) -> str:
    """The API key: as given, or LONGRUN_KEY, or "" for none.

    Raises:
        ValueError: it cannot stand in a header. The message does not show it.
    """
    chosen = setting("LONGRUN_KEY") if key is None else key
    if not (chosen.isascii() and chosen.isprintable()):
        raise ValueError("the API key holds a character that no key has, such as a line break")
    return chosen


def is_here(url: str) -> bool:
    """Whether the server is on this machine, so that no proxy of the environment is used."""
    return urlsplit(url).hostname in _LOOPBACK


def setting(name: str) -> str:
    """A variable of the environment, or of the file `.env` in the current folder; "" when it is in neither."""
    return os.environ.get(name) or read_dotenv(Path(".env")).get(name, "")


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a `.env` file, if there is one, read as python-dotenv reads it (which the base install lacks)."""
    found: dict[str, str] = {}
    for line in _DOTENV_LINE.finditer(path.read_text("utf-8-sig") if path.is_file() else ""):
        name, single, double, plain = line.groups()
        if single is not None or double is not None:
            escapes, quoted = (_DOUBLE_ESCAPES, double) if single is None else (_SINGLE_ESCAPES, single)
            value = escapes.sub(lambda part: codecs.decode(part[0], "unicode-escape"), quoted)
        else:
            value = re.sub(r"\s+#.*", "", plain or "").rstrip()
        found[name] = _DOTENV_REFERENCE.sub(lambda part: found.get(part[1], os.environ.get(part[1], part[2] or "")), value)
    return found
