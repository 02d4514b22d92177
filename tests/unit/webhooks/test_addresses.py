"""Which addresses are public, which are allowed, which are neither."""

from __future__ import annotations

from ipaddress import IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.webhooks.hosts import RESOLVED, words

from longrun.webhooks.addresses import METADATA, Address, Networks

NONE = Networks()
PRIVATE = words("""
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.168.0.0/16 198.18.0.0/15
    224.0.0.0/4 240.0.0.0/4
""")
PUBLIC = words("1.1.1.1 8.8.8.8 100.63.255.255 172.32.0.1 2606:4700::1 2a00:1450::1 64:ff9b::808:808")
WRAPPERS = ("::ffff:0:0/96", "::/96", "64:ff9b::/96")


@pytest.mark.parametrize("address", RESOLVED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert NONE.standing(ip_address(address)) == "refused"


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1", "2a00:1450::1", "64:ff9b::808:808"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert NONE.standing(ip_address(address)) == "public"


@given(
    st.sampled_from(PRIVATE).map(ip_network).flatmap(lambda net: st.ip_addresses(network=net)), st.sampled_from(WRAPPERS).map(ip_network)
)
def test_no_address_of_a_private_network_gets_through_not_even_inside_ipv6(address: Address, wrapper: IPv6Network) -> None:
    assert NONE.standing(address) == "refused"
    assert NONE.standing(wrapper[int(address)]) == "refused"
    assert NONE.standing(ip_address((0x2002 << 112) | (int(address) << 80))) == "refused"


@given(st.ip_addresses(v=6))
def test_what_is_public_in_ipv6_has_been_given_out_or_carries_a_public_ipv4(address: Address) -> None:
    if NONE.standing(address) == "public":
        assert address in ip_network("2000::/3") or NONE.standing(ip_address(int(address) & 0xFFFFFFFF)) == "public"


def test_an_allowed_network_is_allowed_in_each_form_of_its_addresses() -> None:
    networks = Networks(["10.0.0.0/8"])
    assert {networks.standing(ip_address(text)) for text in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3")} == {"allowed"}
    assert networks.standing(ip_address("11.1.2.3")) == "public"
    assert networks.standing(ip_address("192.168.0.1")) == "refused"


def test_a_tunnel_is_allowed_only_when_both_of_its_ends_are() -> None:
    teredo = ip_address("2001:0:0a00:0001:0000:ffff:3f57:fefd")  # server 10.0.0.1, client 192.168.1.2
    assert Networks(["10.0.0.0/8"]).standing(teredo) == "refused"
    assert Networks(["10.0.0.0/8", "192.168.0.0/16"]).standing(teredo) == "allowed"


@pytest.mark.parametrize("address", sorted(METADATA, key=str))
def test_no_setting_opens_a_metadata_service(address: Address) -> None:
    assert Networks(["*", str(address)]).standing(address) == "refused"


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "nonsense", "10.0.0.0/33", ""])
def test_what_is_not_a_network_is_an_error(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"host bits|does not appear"):
        Networks([wrong])
