"""Carries out flows over httpx, for ordinary code and for asyncio."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any, TypeVar

import httpx

from longrun.client.http.address import is_here
from longrun.client.http.body import AsyncBody, Streamed
from longrun.client.http.steps import ANSWER, Answer, Flow, Give, Lost, Read, Request, Send, Sleep
from longrun.version import API_PREFIX, VERSION

T = TypeVar("T")

#: As many connections as there are calls at once: the caller decides how many that are.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100)


def http_options(url: str, key: str) -> dict[str, Any]:
    """Arguments for `httpx.Client` and `httpx.AsyncClient`."""
    headers = {"User-Agent": f"longrun-python/{VERSION}", **({"Authorization": f"Bearer {key}"} if key else {})}
    return {
        "base_url": f"{url}{API_PREFIX}",
        "headers": headers,
        "timeout": ANSWER,
        "limits": _LIMITS,
        "trust_env": not is_here(url),
        "follow_redirects": True,
    }


def build(http: httpx.Client | httpx.AsyncClient, request: Request, body: Any) -> httpx.Request:
    """The request as httpx sends it, without the API key if it goes to another server; httpx takes that away only from a redirect."""
    headers = dict(request.headers)
    if isinstance(request.body, Streamed):
        headers |= {"Content-Type": request.body.content_type, "Content-Length": str(request.body.length())}
    timeout = httpx.Timeout(min(ANSWER, request.limit), read=request.limit)
    built = http.build_request(request.method, request.path, content=body, headers=headers, timeout=timeout)
    if (built.url.scheme, built.url.host, built.url.port) != (http.base_url.scheme, http.base_url.host, http.base_url.port):
        built.headers.pop("Authorization", None)
    return built


def lost(error: httpx.RequestError) -> Lost:
    """What an exception of httpx means for the request."""
    return Lost(
        f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
        refused=isinstance(error, httpx.ConnectError | httpx.ConnectTimeout),
        silent=isinstance(error, httpx.ReadTimeout),
        hopeless=not isinstance(error, httpx.TransportError) or isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError),
    )


def _given(flow: Flow[T]) -> Flow[None]:
    """The flow, giving at its end what it otherwise returns."""
    result = yield from flow
    yield Give(result)


class Connection:
    """Carries out flows over connections that are opened when they are needed: also after `close`, and anew in a forked process.

    Args:
        url: of the server.
        key: "" = none.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self._http: httpx.Client | None = None
        self._pid = 0

    def close(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        if http is not None and self._pid == os.getpid():
            http.close()

    def run(self, flow: Flow[T]) -> T:
        """Carry out a flow that gives no values; its return value."""
        with closing(self.iterate(_given(flow))) as values:
            result: T = next(values)
            return result

    def iterate(self, flow: Flow[None]) -> Generator[Any]:
        """Carry out a flow, yielding the values it gives."""
        reply: Any = None
        with closing(flow), closing(_Exchange()) as exchange:
            while True:
                try:
                    step = flow.send(reply)
                except StopIteration:
                    return
                reply = None
                match step:
                    case Send():
                        reply = exchange.send(self._open(), step)
                    case Read():
                        reply = exchange.read()
                    case Sleep(seconds):
                        time.sleep(seconds)
                    case Give(value):
                        yield value

    def _open(self) -> httpx.Client:
        http = self._http
        if http is None or self._pid != os.getpid():
            # A forked process must not write into the connections of its parent.
            http = self._http = httpx.Client(**http_options(self._url, self._key))
            self._pid = os.getpid()
        return http


class _Exchange:
    """One request and its answer, the body of which may be read step by step."""

    def __init__(self) -> None:
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def send(self, http: httpx.Client, step: Send) -> Answer | Lost:
        self.close()
        try:
            response = self._response = http.send(build(http, step.request, step.request.body), stream=True)
            answer = Answer(response.status_code, response.headers, b"", str(response.url))
            if step.leaves_open(answer):
                self._pieces = response.iter_bytes()
                return answer
            return replace(answer, content=response.read())
        except httpx.RequestError as error:
            return lost(error)

    def read(self) -> bytes | Lost:
        try:
            return next(self._pieces, b"")
        except httpx.RequestError as error:
            return lost(error)

    def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()


class AsyncConnection:
    """Carries out flows over connections that are opened when they are needed: also after `close`, and anew on another event loop.

    Args:
        url: of the server.
        key: "" = none.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self._http: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def close(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        if http is not None and self._loop is asyncio.get_running_loop():
            await http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """Carry out a flow that gives no values; its return value."""
        async with aclosing(self.iterate(_given(flow))) as values:
            result: T = await anext(values)
            return result

    async def iterate(self, flow: Flow[None]) -> AsyncGenerator[Any]:
        """Carry out a flow, yielding the values it gives."""
        reply: Any = None
        with closing(flow):
            async with aclosing(_AsyncExchange()) as exchange:
                while True:
                    try:
                        step = flow.send(reply)
                    except StopIteration:
                        return
                    reply = None
                    match step:
                        case Send():
                            reply = await exchange.send(self._open(), step)
                        case Read():
                            reply = await exchange.read()
                        case Sleep(seconds):
                            await asyncio.sleep(seconds)
                        case Give(value):
                            yield value

    def _open(self) -> httpx.AsyncClient:
        loop, http = asyncio.get_running_loop(), self._http
        if http is None or self._loop is not loop:
            # Connections belong to the loop on which they were opened.
            http = self._http = httpx.AsyncClient(**http_options(self._url, self._key))
            self._loop = loop
        return http


class _AsyncExchange:
    """One request and its answer, the body of which may be read step by step."""

    def __init__(self) -> None:
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def send(self, http: httpx.AsyncClient, step: Send) -> Answer | Lost:
        await self.aclose()
        body = step.request.body
        try:
            built = build(http, step.request, AsyncBody(body) if isinstance(body, Streamed) else body)
            response = self._response = await http.send(built, stream=True)
            answer = Answer(response.status_code, response.headers, b"", str(response.url))
            if step.leaves_open(answer):
                self._pieces = response.aiter_bytes()
                return answer
            return replace(answer, content=await response.aread())
        except httpx.RequestError as error:
            return lost(error)

    async def read(self) -> bytes | Lost:
        assert self._pieces is not None, "a flow reads after it has sent"
        try:
            return await anext(self._pieces, b"")
        except httpx.RequestError as error:
            return lost(error)

    async def aclose(self) -> None:
        response, self._response, self._pieces = self._response, None, None
        if response is not None:
            await response.aclose()
