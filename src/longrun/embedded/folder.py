"""The data folder: made private, held by one process, opened by one server; and how much room it has.

In it: `appendonlydir/` (the data), `valkey.sock`, `valkey.log`, `valkey.pid`, `lock` (held by the process that runs the server),
`server.lock` (held by the server itself, so that two never share the files), `written-by` (name and version of the server that wrote
the data) and `socket` (where the socket is, when its path would be too long).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from longrun.embedded.address import socket_of, url_of
from longrun.errors import SettingsError


def prepare(data: Path) -> None:
    """Make the folder, for this user only and out of sight of git.

    Raises:
        SettingsError: it cannot be made or written to.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data / ".gitignore").write_text("*\n")
    except OSError as error:
        raise SettingsError(f"the data folder {data} cannot be used ({error.strerror}): choose another one with --data") from error


def hold(data: Path) -> IO[str]:
    """Take the folder for this process, until the returned file is closed or the process ends.

    Raises:
        SettingsError: another process has it.
    """
    lock = (data / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise SettingsError(
            f"{data} is already served by process {holder or '(unknown)'}: attach to it with `longrun worker` or `longrun api`, "
            "or choose another --data"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def is_free(lock: Path) -> bool:
    """Whether no process holds `lock`."""
    if not lock.exists():
        return True
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def recorded_pid(data: Path) -> str:
    """The server's pid as it wrote it down, for messages."""
    record = data / "valkey.pid"
    return f"process {record.read_text().strip()}" if record.exists() else "its process is not known"


def tail(log: Path, start: int) -> str:
    """The last lines that were logged after byte `start`."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-10:]) or "(nothing was logged)"


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes. `folder` is shown to the operator; `free` is what this user may still write; `data` is the size of the append-only file."""

    folder: str
    free: int
    data: int


def is_served_from(data: Path, url: str) -> bool:
    """Whether the store at `url` is the embedded server in `data`."""
    return url == url_of(socket_of(data.resolve()))


def read_disk(data: Path, url: str) -> Disk | None:
    """The disk of the embedded server in `data`; None when the store at `url` is another one, or the disk cannot be read."""
    if not is_served_from(data, url):
        return None
    folder = data.resolve()
    try:
        size = sum(file.stat().st_size for file in (folder / "appendonlydir").glob("*"))
        return Disk(str(folder), shutil.disk_usage(folder).free, size)
    except OSError:
        return None  # a rewrite has just removed a file, or the folder went: the next look tells
