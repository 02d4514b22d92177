"""How much room the embedded server has."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from longrun.embedded.address import socket_of, url_of


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes. `folder` is shown to the operator; `free` is what this user may still write; `data` is the size of the append-only file."""

    folder: str
    free: int
    data: int


def read_disk(data: Path, url: str) -> Disk | None:
    """The disk of the embedded server in `data`; None when the store at `url` is another one, or the disk cannot be read."""
    folder = data.resolve()
    if url != url_of(socket_of(folder)):
        return None
    try:
        size = sum(file.stat().st_size for file in (folder / "appendonlydir").glob("*"))
        return Disk(str(folder), shutil.disk_usage(folder).free, size)
    except OSError:
        return None  # a rewrite has just removed a file, or the folder went: the next look tells
