"""Where the socket of a data folder is: in it, or in a private runtime folder when that path would be too long."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from longrun.embedded.folder import replace_text
from longrun.errors import SettingsError

_LONGEST_SOCKET_PATH = 100  # sun_path holds 104 bytes on macOS and 108 on Linux


def choose_socket(data: Path) -> Path:
    """Where the socket of `data` is from now on; a runtime folder is made and remembered when the data folder's path is too long."""
    path = socket_of(data)
    if path.parent == data:
        return path
    if not path.parent.is_dir():
        path = _far_socket(data)  # the remembered folder went with the login session that it belonged to
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not is_private(path.parent):
        raise SettingsError(f"{path.parent} is open to other users: remove it, or choose a --data with a shorter path")
    replace_text(data / "socket", f"{path}\n")
    return path


def socket_of(data: Path) -> Path:
    """Where the socket of `data` is, or would be. Changes nothing."""
    near = data / "valkey.sock"
    if len(os.fsencode(near)) <= _LONGEST_SOCKET_PATH:
        return near
    far, record = _far_socket(data), data / "socket"
    remembered = Path(record.read_text().strip()) if record.exists() else far
    # The folder's name is made from the data folder's path, so that a copied data folder does not lead to the original's server.
    return remembered if remembered.parent.name == far.parent.name else far


def _far_socket(data: Path) -> Path:
    name = f"longrun-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}-{os.geteuid()}"
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
        path = Path(base, name, "valkey.sock")
        if os.access(base, os.W_OK) and len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
    return Path("/tmp", name, "valkey.sock")


def is_private(folder: Path) -> bool:
    """Whether `folder` is a real folder that only this user can enter: in a shared place, anyone could have made it."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def url_of(path: Path) -> str:
    """The socket as clients write it, `unix:///…/valkey.sock`."""
    return f"unix://{quote(str(path))}"
