"""Which addresses may be called: public ones, and those in networks that the operator has allowed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Literal

Address = IPv4Address | IPv6Address
Standing = Literal["public", "allowed", "refused"]

#: Where clouds hand out a machine's credentials; no setting opens these. The one of Azure is a public address.
METADATA = frozenset(
    {
        IPv4Address("169.254.169.254"),  # most clouds
        IPv4Address("169.254.170.2"),  # AWS, containers
        IPv4Address("169.254.170.23"),  # AWS, Kubernetes pods
        IPv4Address("168.63.129.16"),  # Azure
        IPv4Address("100.100.100.200"),  # Alibaba
        IPv4Address("192.0.0.192"),  # Oracle
        IPv6Address("fd00:ec2::254"),  # AWS
        IPv6Address("fd00:ec2::23"),  # AWS, Kubernetes pods
        IPv6Address("fd20:ce::254"),  # Google
        IPv6Address("fd00:42::42"),  # Scaleway
    }
)
#: Special networks that `is_global` of some Python versions calls global: protocol assignments, 6to4 relays, documentation.
_SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20"))
_UNICAST = IPv6Network("2000::/3")  # all of IPv6 that IANA has given out for global unicast
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; in a network without IPv4, the whole of IPv4 is called through it
_COMPATIBLE = IPv6Network("::/96")  # `::127.0.0.1`, RFC 4291 section 2.5.5.1


class Networks:
    """The private networks that may be called: the setting `allowed_networks`.

    Args:
        allowed: networks as CIDR; `*` = all.

    Raises:
        ValueError: one of them is not a network.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        every = ["0.0.0.0/0", "::/0"] if "*" in allowed else []
        self._allowed = [ip_network(text) for text in [*every, *(text for text in allowed if text != "*")]]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._allowed)

    def standing(self, address: Address) -> Standing:
        """How an address may be called: as a part of the internet, as a part of an allowed network, or not at all.

        An IPv6 address that carries IPv4 addresses is judged by these.
        """
        each = [self._judge(one) for one in _reached(address)]
        if "refused" in each:
            return "refused"
        return "public" if "public" in each else "allowed"

    def _judge(self, address: Address) -> Standing:
        if address in METADATA:
            return "refused"
        if any(address in network for network in self._allowed):
            return "allowed"
        return "public" if _is_public(address) else "refused"


def _is_public(address: Address) -> bool:
    # `is_global` follows IANA's special-purpose registries. It counts multicast as global, and IPv6 that nobody has been given.
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.version == 4 or address in _UNICAST


def _reached(address: Address) -> Iterator[Address]:
    """What a packet to this address reaches: the IPv4 addresses inside, or the address itself."""
    if isinstance(address, IPv4Address):
        yield address
    elif inner := address.ipv4_mapped or address.sixtofour:
        yield inner
    elif address.teredo:
        yield from address.teredo
    elif address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        yield IPv4Address(int(address) & 0xFFFF_FFFF)
    else:
        yield address
