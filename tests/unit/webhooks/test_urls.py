"""What a URL must look like to be called at all."""

from __future__ import annotations

import re
import string
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.webhooks.hosts import CLOUD, CONFUSING, PRIVATE, UNREADABLE

from longrun.webhooks.addresses import Networks
from longrun.webhooks.urls import Refused, check_url, read_url

NONE = Networks()
ANY = Networks(["*"])
LOCAL = Networks(["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"])
ORDINARY = (
    "https://example.com",
    "https://example.com/",
    "HTTPS://Example.COM/Hook?a=1&b[]=2",
    "https://example.com:443/x",
    "https://hooks.example.com:8443/a/b%20c?q=%C3%A4",
    "https://xn--exmple-cua.com/",
    "https://my_service.example.com/",
    "https://3com.example/",
    "https://example.com/..//.;x=1",
    "https://example.com?x",
    "https://example.com/user@host:80/",
    "https://1.1.1.1/",
    "https://[2606:4700:4700::1111]:8443/",
    "https://[64:ff9b::8.8.8.8]/",
)


@pytest.mark.parametrize("url", ORDINARY)
def test_an_ordinary_url_is_accepted(url: str) -> None:
    check_url(url, NONE)


@pytest.mark.parametrize("host", [*PRIVATE, *CLOUD, *UNREADABLE], ids=ascii)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_host_that_is_not_public_is_refused_with_a_reason(scheme: str, host: str) -> None:
    with pytest.raises(Refused, match=r"^[A-Za-z0-9].{20,}\.$"):
        check_url(f"{scheme}://{host}/hook", NONE)


@pytest.mark.parametrize("url", CONFUSING, ids=ascii)
@pytest.mark.parametrize("networks", [NONE, ANY], ids=["no-network", "any-network"])
def test_a_url_that_can_be_read_in_two_ways_is_refused_whatever_is_allowed(url: str, networks: Networks) -> None:
    with pytest.raises(Refused, match=r"\.$"):
        check_url(url, networks)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/", "must begin with https://; http is for allowed networks only (the operator can allow its network with"),
        ("https://10.1.2.3/", "The address of 10.1.2.3 is not public: the operator can allow its network with"),
        ("https://example.com\t/", r"holds '\t': percent-encode"),
        ("https://ex\u00e4mple.com/", r"holds '\xe4': percent-encode what is not plain ASCII, and write a name in its xn-- form"),
        ("https://127.1/", "write an IPv4 address as four decimal numbers"),
        ("https://me:pw@example.com/", "holds a user or a password: leave it out"),
        ("https://example.com/#x", "holds a fragment (#), which is never sent: leave it out"),
        ("https://example.com:22/", "Port 22 is not one for webhooks: use 443, or a port from 1024 on"),
        ("https://example.com./", "none at the end"),
        ("https://metadata.google.internal/", "metadata service, which is never called"),
        ("https://example.com:99999/", "port of the URL is over 65535"),
    ],
)
def test_the_reason_says_what_to_do(url: str, says: str) -> None:
    with pytest.raises(Refused, match=re.escape(says)):
        check_url(url, NONE)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(Refused) as caught:
        check_url("https://me:hunter2@example.com/?token=hunter2", NONE)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("port", [21, 22, 23, 25, 80, 110, 445, 587, 1023, 2375, 2379, 3306, 5432, 5672, 6379, 9200, 11211, 15672, 27017])
def test_a_port_of_another_service_is_refused_on_the_internet_only(port: int) -> None:
    with pytest.raises(Refused, match=f"Port {port} "):
        check_url(f"https://1.1.1.1:{port}/", NONE)
    check_url(f"http://10.1.2.3:{port}/", LOCAL)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/",
        "https://10.1.2.3/",
        "http://[::ffff:10.1.2.3]/",
        "http://[fd12::1]:9/",
        "http://localhost:8000/",
        "http://a.localhost/",
    ],
)
def test_an_allowed_network_may_be_called_with_http_and_on_any_port(url: str) -> None:
    check_url(url, LOCAL)


def test_a_name_is_judged_by_its_addresses_later_when_networks_are_allowed() -> None:
    check_url("http://receiver.internal:25/", LOCAL)
    with pytest.raises(Refused):
        check_url("http://receiver.internal:25/", NONE)


@pytest.mark.parametrize("url", ["http://192.168.0.1/", "http://1.1.1.1/", "https://1.1.1.1:25/", "https://[fe80::1]/", "https://[::1]/"])
def test_what_lies_outside_the_allowed_networks_is_judged_as_before(url: str) -> None:
    with pytest.raises(Refused):
        check_url(url, LOCAL)


@pytest.mark.parametrize("url", ["http://192.168.0.1:25/", "http://1.1.1.1/", "http://[::1]:1/", "http://anything/", "http://0.0.0.0/"])
def test_any_network_can_be_allowed(url: str) -> None:
    check_url(url, ANY)


@pytest.mark.parametrize("host", [*CLOUD, *UNREADABLE], ids=ascii)
def test_a_metadata_service_or_an_unreadable_host_is_never_called(host: str) -> None:
    with pytest.raises(Refused):
        check_url(f"http://{host}/", ANY)


def test_what_is_sent_is_what_was_written() -> None:
    target = read_url("HTTP://Receiver.Example:8080/A/../b%2f?c=%41&d")
    assert (target.scheme, target.host, target.port, target.path) == ("http", "receiver.example", 8080, "/A/../b%2f?c=%41&d")
    assert read_url("https://example.com?x").path == "/?x"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Example.com/", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("http://example.com:80/", "example.com"),
        ("https://example.com:80/", "example.com:80"),
        ("https://[2606:4700::1]:8443/", "[2606:4700::1]:8443"),
        ("https://[2606:4700:0::1]/", "[2606:4700::1]"),
    ],
)
def test_the_host_header_names_the_port_when_it_is_not_the_schemes(url: str, host: str) -> None:
    assert read_url(url).authority == host


PIECES = ["http", "https", "://", *"/:@#?\\[]%.\t\uff41", "::1", "127.0.0.1", "localhost", "a.example", "443", "0"]


def plain(host: str | None) -> str:
    """A host as text, an address in its shortest form."""
    try:
        return str(ip_address(host or ""))
    except ValueError:
        return host or ""


@given(st.lists(st.sampled_from(PIECES) | st.text(string.printable, max_size=3), max_size=8).map("".join).map("https://{}".format))
@example("https://a.example?@127.0.0.1")
@example("https://a.example:1/@127.0.0.1:2/")
@example("https://A.example:8443/")
@example("https://[0::1]:1/")
def test_what_is_accepted_is_read_alike_by_other_libraries(url: str) -> None:
    try:
        target = read_url(url)
    except Refused:
        return
    for other in (urlsplit(url).hostname, httpx.URL(url).host):
        assert plain(other) == target.host
    for port in (urlsplit(url).port, httpx.URL(url).port):
        assert (port or 443) == target.port
