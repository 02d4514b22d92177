"""The one reading of a URL that a caller gave, and the rules it must pass before anything is resolved or called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address

from longrun.errors import LongrunError
from longrun.webhooks.addresses import Address, Networks

LONGEST = 2048
#: What a URL may consist of (RFC 3986 section 2), but for the fragment, which is never sent.
_URL = re.compile(r"(?i:(https?))://([^/?#]*)(/[^?#]*)?(\?[^#]*)?")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([1-9][0-9]{0,4}))?")
_FOREIGN = re.compile(r"[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LIKE_A_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_LOOPBACK = IPv4Address("127.0.0.1")
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal", "metadata.azure.internal"}
)
#: Ports from 1024 on where services listen that can be talked into something by an HTTP request.
_SERVICES = frozenset(
    {
        *(1433, 1521, 2049, 2181, 2375, 2376, 2379, 2380, 3128, 3306, 3389, 4369, 5432, 5672, 5900, 5984, 6000, 6379, 6380, 6443),
        *(6667, 7001, 8020, 8086, 8500, 9042, 9092, 9200, 9300, 10250, 10255, 11211, 15672, 25672, 26379, 27017, 50070),
    }
)
_ALLOW = "the operator can allow its network with LONGRUN_ALLOWED_NETWORKS"


class Refused(LongrunError):
    """The URL may not be called. The text says which rule it breaks and what to do, for whoever gave the URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, read once. Nothing reads its text again."""

    scheme: str  #: `http` or `https`
    host: str  #: lower case; an IPv6 address without brackets
    port: int
    path: str  #: with the query, as given

    @property
    def authority(self) -> str:
        """The `Host` header: brackets around IPv6, the port when it is not the scheme's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @property
    def known(self) -> tuple[Address, ...]:
        """The addresses that need no lookup: the one that is written instead of a name, and that of `localhost` (RFC 6761)."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return (_LOOPBACK,)
        try:
            return (ip_address(self.host),)
        except ValueError:
            return ()


def read_url(url: str) -> Target:
    """Read a URL. What two parsers could read differently is refused: one would be checked and another called.

    Raises:
        Refused: it is not a plain http or https URL.
    """
    if len(url) > LONGEST:
        raise Refused(f"The URL is longer than {LONGEST} characters.")
    if foreign := _FOREIGN.search(url):
        raise Refused(f"The URL holds {foreign[0]!a}: percent-encode what is not plain ASCII, and write a name in its xn-- form.")
    if "#" in url:
        raise Refused("The URL holds a fragment (#), which is never sent: leave it out.")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise Refused("The URL must begin with https://.")
    scheme, authority = parts[1].lower(), parts[2]
    if "@" in authority:
        raise Refused("The URL holds a user or a password: leave it out.")
    place = _AUTHORITY.fullmatch(authority)
    if place is None:
        raise Refused("The host of the URL is not a name, an IPv4 address or an IPv6 address in brackets, or its port is not a number.")
    port = int(place[2] or (443 if scheme == "https" else 80))
    if port > 65535:
        raise Refused("The port of the URL is over 65535.")
    return Target(scheme, _read_host(place[1].lower()), port, (parts[3] or "/") + (parts[4] or ""))


def _read_host(host: str) -> str:
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1]))
        except AddressValueError:
            raise Refused("The host of the URL is not an IPv6 address.") from None
    labels = host.split(".")
    # `127.1`, `0x7f000001`, `017700000001` are names to one library and 127.0.0.1 to another: the rule is the WHATWG's "ends in a number".
    if _LIKE_A_NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise Refused("The host of the URL is a number: write an IPv4 address as four decimal numbers.") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused("The host of the URL is not a name: write letters, digits and hyphens, with dots between them and none at the end.")
    return host


def check_url(url: str, networks: Networks) -> None:
    """Judge a URL when it is given, by what is written in it; nothing is resolved. Before it is called, its addresses are judged too.

    Raises:
        Refused: with a text for whoever gave it.
    """
    check_target(read_url(url), networks)


def check_target(target: Target, networks: Networks) -> None:
    """The rules of `check_url`, for a URL that has been read."""
    if target.host in _METADATA_NAMES:
        raise Refused("The host of the URL is a cloud's metadata service, which is never called.")
    if target.known:
        check_addresses(target, target.known, networks)
    elif not networks:
        _check_public(target)


def check_addresses(target: Target, addresses: Iterable[Address], networks: Networks) -> None:
    """Judge all addresses of a host: one that may not be called is enough to refuse it, since the others may be bait.

    Raises:
        Refused: with a text that names the host and not the address, which the caller need not know.
    """
    standings = {networks.standing(address) for address in addresses}
    if "refused" in standings:
        raise Refused(f"The address of {target.host} is not public: {_ALLOW}.")
    if standings != {"allowed"}:
        _check_public(target)


def _check_public(target: Target) -> None:
    """What holds on the internet and not in an allowed network."""
    if target.scheme != "https":
        raise Refused(f"The URL must begin with https://; http is for allowed networks only ({_ALLOW}).")
    if target.port != 443 and (target.port < 1024 or target.port in _SERVICES):
        raise Refused(f"Port {target.port} is not one for webhooks: use 443, or a port from 1024 on that no well-known service has.")
