"""Where the socket of a data folder is: in it, or in a private runtime folder when that path would be too long; and whether a server
lives behind it, asked in the Redis protocol itself: the client library belongs to the store.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import struct
import sys
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from longrun.errors import SettingsError

Answer = Literal["ready", "loading", "silent", "absent"]
_CREDENTIALS = struct.Struct("3i")  # pid, uid and gid of a peer, as Linux tells them
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


def replace_text(path: Path, text: str) -> None:
    """Replace a file at once, so that no reader and no crash ever sees half of it."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


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


def ping(path: Path) -> Answer:
    """`ready`; `loading` its data; `silent`: something is there but gives no such answer within a second; `absent`."""
    try:
        reply = ask(path, "PING")
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return "absent"
    except OSError:
        return "silent"
    if reply.startswith("-LOADING"):
        return "loading"
    return "ready" if reply == "+PONG" else "silent"


def server_pid(path: Path) -> int | None:
    """Process id of the server; None where this process sees it under no number, because it runs in another container.

    What the server says of itself (INFO) is its number there, which somebody else may have here.

    Raises:
        OSError: nothing listens, or no answer within a second.
    """
    if sys.platform != "linux":
        found = re.search(r"process_id:(\d+)", ask(path, "INFO", "server"))
        return int(found[1]) if found else None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        pid, _, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return pid or None


def ask(path: Path, *words: str) -> str:
    """One command and its answer in the Redis protocol: the first line, or the content of a bulk string.

    Raises:
        OSError: nothing listens, or no answer within a second.
    """
    request = "".join([f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        connection.sendall(request.encode("ascii"))
        with connection.makefile("rb") as reply:
            line = reply.readline().decode().rstrip()
            return reply.read(int(line[1:])).decode() if line.startswith("$") else line
