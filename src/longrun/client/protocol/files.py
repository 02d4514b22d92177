"""Files on the server as its answers show them, and what they are called when they are saved here."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from longrun.client.http.steps import Json
from longrun.version import API_PREFIX

_ID = re.compile(r"file_[0-9a-f]{32}")
F = TypeVar("F", bound="StoredFile")


class StoredFile(Json):
    """A file on the server: its JSON as it came, with an absolute URL.

    Given in an input, it stands for its id: the output of one job can be the input of the next.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.name or '-'} {self.content_type} {self.size:,} bytes>"

    @property
    def id(self) -> str:
        """`file_` and 32 hexadecimal digits."""
        return str(self["id"])

    @property
    def url(self) -> str:
        """Opens for whoever has it, for 15 minutes. `save`, `read` and `client.download` do not depend on that."""
        return str(self["url"])

    @property
    def content_type(self) -> str:
        """By the server's judgement of the bytes."""
        return str(self["content_type"])

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self["size"])

    @property
    def digest(self) -> str:
        """`sha-256=` and base64."""
        return str(self["digest"])

    @property
    def name(self) -> str:
        """For people; "" = it has none."""
        return str(self.get("name") or "")


def with_files(value: Any, make: Callable[[Json], F]) -> Any:
    """A value of an output in which `make` has replaced the JSON of each file."""
    if isinstance(value, dict):
        if _is_file(value):
            return make(value)
        return {name: with_files(each, make) for name, each in value.items()}
    return [with_files(each, make) for each in value] if isinstance(value, list) else value


def _is_file(value: Json) -> bool:
    texts = all(isinstance(value.get(name), str) for name in ("id", "url", "content_type", "digest"))
    return texts and isinstance(value.get("size"), int) and _ID.fullmatch(value["id"]) is not None


def absolute(base: str, url: str) -> str:
    """A URL of an answer, which may be relative to the server's.

    Args:
        base: the server's URL; it may have a path, of a proxy that takes it away again.
    """
    return base + url if url.startswith(f"{API_PREFIX}/") else urljoin(f"{base}/", url)


def target(file: str | Json, to: Path) -> Path:
    """Where a file is saved: at `to`; if that is a folder, in it, with a number added to a name that is taken.

    Args:
        file: its JSON, or its URL.
    """
    if not to.is_dir():
        return to
    name = Path(local_name(file))
    numbers = count(2)
    path = to / name
    while path.exists() or path.is_symlink():  # the name was somebody else's choice: nothing is replaced for it
        path = to / f"{name.stem}-{next(numbers)}{name.suffix}"
    return path


def local_name(file: str | Json) -> str:
    """Its name in a folder: its own if that is usable, else its id. Never a path nor a hidden file, whatever the server sends."""
    if isinstance(file, str):
        steps = [step for step in urlsplit(file).path.split("/") if step.startswith("file_")]
        return steps[-1] if steps and steps[-1].replace("_", "").isalnum() else "file"
    name = Path(str(file.get("name") or "").replace("\\", "/")).name
    return name if name.isprintable() and not name.startswith(".") and name.strip() else str(file["id"]) + _suffix(file)


def _suffix(file: Json) -> str:
    return mimetypes.guess_extension(str(file.get("content_type", "")), strict=True) or ""
