"""The fault proxy does what it says, in front of a real Valkey."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from tests.chaos.program import until
from tests.chaos.proxy import Proxy

from longrun.embedded import EmbeddedValkey


@pytest.fixture
def proxy(valkey: EmbeddedValkey) -> Iterator[Proxy]:
    with Proxy(valkey.data / "valkey.sock") as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def ask(sock: socket.socket, *words: str) -> bytes:
    """The answer to one command; empty when the server ended the connection."""
    sock.sendall(command(*words))
    return sock.recv(65536)


def command(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)


def test_traffic_goes_through_unchanged_and_ends_in_order(proxy: Proxy) -> None:
    with connect(proxy) as sock:
        assert ask(sock, "PING") == b"+PONG\r\n"
        assert proxy.connections == 1
        assert ask(sock, "QUIT") == b"+OK\r\n"
        assert sock.recv(10) == b""
    until(lambda: proxy.connections == 0, "the connection is gone", timeout=5)


def test_a_request_is_delayed(proxy: Proxy) -> None:
    proxy.delay(0.3)
    with connect(proxy) as sock:
        begin = time.monotonic()
        ask(sock, "PING")
        assert time.monotonic() - begin >= 0.3


def test_frozen_traffic_waits_and_goes_on_after_the_thaw(proxy: Proxy) -> None:
    proxy.freeze()
    with connect(proxy) as sock:
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask(sock, "PING")
        sock.settimeout(10)
        proxy.thaw()
        assert sock.recv(10) == b"+PONG\r\n"


def test_a_reset_breaks_connections_and_new_ones_work(proxy: Proxy) -> None:
    with connect(proxy) as sock:
        ask(sock, "PING")
        assert proxy.reset() == 1
        with pytest.raises(ConnectionResetError):
            sock.recv(10)
    with connect(proxy) as sock:
        assert ask(sock, "PING") == b"+PONG\r\n"


def test_some_requests_are_dropped_with_their_connections(proxy: Proxy) -> None:
    proxy.drop_some(0.5, random.Random(1))
    answered = 0
    for _ in range(40):
        with contextlib.suppress(ConnectionResetError), connect(proxy) as sock:
            answered += ask(sock, "PING") == b"+PONG\r\n"
    assert 8 < answered < 32
    proxy.drop_some(0.0, random.Random(1))
    with connect(proxy) as sock:
        assert ask(sock, "PING") == b"+PONG\r\n"


def test_a_refusing_proxy_lets_nobody_in_until_it_admits_again(proxy: Proxy) -> None:
    with connect(proxy) as sock:
        ask(sock, "PING")
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            sock.recv(10)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.admit()
    with connect(proxy) as sock:
        assert ask(sock, "PING") == b"+PONG\r\n"


def test_a_reply_is_cut_in_its_middle(proxy: Proxy) -> None:
    with connect(proxy) as sock:
        ask(sock, "PING")
        proxy.cut_after(3)
        got = ask(sock, "PING")
        with pytest.raises(ConnectionResetError):
            while more := sock.recv(10):
                got += more
        assert got == b"+PO"


@pytest.mark.parametrize("pieces", [1, 2], ids=["in one piece", "in two"])
def test_a_swallowed_request_is_served_and_its_reply_is_lost(proxy: Proxy, pieces: int) -> None:
    swallow = proxy.swallow_reply(b"marker")
    with connect(proxy) as sock, connect(proxy) as other:
        assert ask(sock, "DEL", "count") in (b":0\r\n", b":1\r\n")
        text = command("INCR", "count") + command("ECHO", "marker")
        half = text.index(b"rker") if pieces == 2 else len(text)
        sock.sendall(text[:half])
        if pieces == 2:
            assert sock.recv(10) == b":1\r\n"  # the first command is complete: it was answered
            sock.sendall(text[half:])
        with pytest.raises(ConnectionResetError):
            sock.recv(10)
        assert swallow.done.is_set()
        assert ask(other, "GET", "count") == b"$1\r\n1\r\n"
        assert ask(other, "ECHO", "marker") == b"$6\r\nmarker\r\n", "only once"


def test_a_half_open_connection_leads_nowhere_and_new_ones_work(proxy: Proxy) -> None:
    with connect(proxy) as sock:
        ask(sock, "PING")
        proxy.half_open()
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask(sock, "PING")
    with connect(proxy) as sock:
        assert ask(sock, "PING") == b"+PONG\r\n"


def test_closing_ends_every_connection_also_a_frozen_one(valkey: EmbeddedValkey) -> None:
    with Proxy(valkey.data / "valkey.sock") as proxy, connect(proxy) as sock:
        proxy.freeze()
        sock.sendall(b"PING\r\n")
        until(lambda: proxy.connections == 1, "it is connected", timeout=5)
    assert not [thread for thread in threading.enumerate() if thread.name == "proxy"]
