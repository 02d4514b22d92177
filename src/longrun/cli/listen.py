"""The socket that the API listens on, opened before anything else starts."""

from __future__ import annotations

import errno
import socket

from longrun.errors import SettingsError

_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        SettingsError: the address is in use, not ours, or none at all.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise SettingsError(f"host {host!r} is not an address of this machine: {error.strerror}") from None
    # `localhost` may be both 127.0.0.1 and ::1; the first is what every client tries.
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"port {port} on {host} is in use: stop what listens there, or choose another port (--port 0 takes a free one)"
            ) from None
        raise SettingsError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return sock


def url_of(sock: socket.socket) -> str:
    """The URL under which this machine reaches the socket."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
