"""Whether a server lives behind a socket, asked in the Redis protocol itself: the client library belongs to the store."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal

Answer = Literal["ready", "loading", "silent", "absent"]


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
