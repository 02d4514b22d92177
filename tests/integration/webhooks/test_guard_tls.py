"""TLS of the guarded client: the address is pinned, and the certificate must be that of the name."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from tests.integration.webhooks.test_guard import answering, client, fetched, ok, resolving, server

from longrun.webhooks.guard import Networks, Refused, Unreachable

CERTIFICATE = Path(__file__).with_name("hook.example.pem")


@pytest.fixture
def receiver() -> ssl.SSLContext:
    """A server that shows the certificate of hook.example and notes the names it is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
def trusting() -> ssl.SSLContext:
    """A client that trusts this certificate and no other."""
    return ssl.create_default_context(cafile=CERTIFICATE)


@pytest.fixture
def names(receiver: ssl.SSLContext) -> list[str | None]:
    """The names that clients asked the receiver for (SNI)."""
    asked: list[str | None] = []
    receiver.sni_callback = lambda _socket, name, _context: asked.append(name)
    return asked


async def test_the_certificate_of_the_name_is_accepted_at_the_pinned_address(
    receiver: ssl.SSLContext, trusting: ssl.SSLContext, names: list[str | None]
) -> None:
    seen: list[bytes] = []
    resolve, _ = resolving(["127.0.0.1"])
    async with server(answering(ok(b"hi"), seen), receiver) as port, client(resolve=resolve, tls=trusting) as guarded:
        answer = await guarded.post(f"https://hook.example:{port}/", b"{}", {})
    assert (answer.status, names) == (200, ["hook.example"])
    assert b"host: hook.example:%d\r\n" % port in seen[0].lower()


@pytest.mark.parametrize("host", ["other.example", "127.0.0.1", "hook.example.other.example"])
async def test_the_certificate_of_another_name_is_not_accepted(receiver: ssl.SSLContext, trusting: ssl.SSLContext, host: str) -> None:
    seen: list[bytes] = []
    resolve, _ = resolving(["127.0.0.1"])
    async with server(answering(ok(), seen), receiver) as port, client(resolve=resolve, tls=trusting) as guarded:
        with pytest.raises(Unreachable, match=r"its certificate is not accepted: .*mismatch"):
            await guarded.post(f"https://{host}:{port}/", b"{}", {})
    assert seen == []


async def test_a_certificate_that_nobody_signed_is_not_accepted(receiver: ssl.SSLContext) -> None:
    seen: list[bytes] = []
    resolve, _ = resolving(["127.0.0.1"])
    async with server(answering(ok(), seen), receiver) as port, client(resolve=resolve) as guarded:
        with pytest.raises(Unreachable, match="its certificate is not accepted: self-signed certificate"):
            await guarded.post(f"https://hook.example:{port}/", b"{}", {})
    assert seen == []


async def test_a_certificate_that_the_operators_environment_names_is_trusted(
    receiver: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    resolve, _ = resolving(["127.0.0.1"])
    async with server(answering(ok()), receiver) as port, client(resolve=resolve) as guarded:
        assert (await guarded.post(f"https://hook.example:{port}/", b"{}", {})).status == 200


async def test_a_receiver_without_tls_gets_no_request() -> None:
    heard = b""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard = await reader.read(4096)
        writer.write(ok())
        await writer.drain()

    resolve, _ = resolving(["127.0.0.1"])
    async with server(plain) as port, client(resolve=resolve) as guarded:
        with pytest.raises(Unreachable, match="TLS fails"):
            await guarded.post(f"https://hook.example:{port}/", b"secret body", {})
    assert b"POST" not in heard
    assert b"secret" not in heard


async def test_a_fetch_is_not_redirected_from_https_to_http_on_the_internet(receiver: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    down = b"HTTP/1.1 302 Found\r\nLocation: http://1.1.1.1/\r\nContent-Length: 0\r\n\r\n"
    resolve, _ = resolving(["127.0.0.1"])
    async with server(answering(down), receiver) as port, client(Networks(["127.0.0.0/8"]), resolve=resolve, tls=trusting) as guarded:
        with pytest.raises(Refused, match="must begin with https://"):
            await fetched(guarded, f"https://hook.example:{port}/", max_bytes=10)


async def test_what_is_read_through_tls_is_counted_too(receiver: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    async def flooding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
            await writer.drain()

    resolve, _ = resolving(["127.0.0.1"])
    async with server(flooding, receiver) as port, client(resolve=resolve, tls=trusting) as guarded:
        with pytest.raises(Unreachable, match="its answer is too large"):
            await guarded.post(f"https://hook.example:{port}/", b"{}", {})
