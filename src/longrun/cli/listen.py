"""The socket that the API listens on, opened before anything else starts."""

from __future__ import annotations

import errno
import socket
import sys

from longrun.errors import SettingsError

_BACKLOG = 2048
#: Where the system spreads connections over sockets of one address.
_SPREADS = sys.platform == "linux"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        SettingsError: the address is in use, not ours, or none at all.
    """
    sock = _bind(host, port)
    sock.listen(_BACKLOG)
    return sock


def listen_for(processes: int, host: str, port: int) -> list[socket.socket]:
    """A listening socket for each process, over which the system spreads connections evenly; one for all where it cannot do that.

    Raises as `listen` does.
    """
    if processes == 1 or not _SPREADS:
        return [listen(host, port)]
    # Bound alone at first: two services that both let others share would share one port, each with half of the other's callers.
    socks = [_bind(host, port)]
    socks[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    socks += [_bind(host, socks[0].getsockname()[1], shared=True) for _ in range(processes - 1)]
    for sock in socks:
        sock.listen(_BACKLOG)
    return socks


def _bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise SettingsError(f"host {host!r} is not an address of this machine: {error.strerror}") from None
    # `localhost` may be both 127.0.0.1 and ::1; the first is what every client tries.
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
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
