"""How requests travel: flows done over httpx, for ordinary code and for asyncio."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, TypeVar

import httpx

from longrun.client.address import is_here
from longrun.client.body import AsyncBody, Streamed
from longrun.client.wire import ANSWER, Answer, Flow, Give, Lost, Open, Read, Request, Send, Sleep, Step
from longrun.version import API_PREFIX, VERSION

T = TypeVar("T")

#: As many connections as there are calls at once: who calls knows how many that are.
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


def request_options(request: Request) -> dict[str, Any]:
    """Arguments for a request."""
    timeout = httpx.Timeout(min(ANSWER, request.limit), read=request.limit)
    headers = dict(request.headers)
    if isinstance(request.body, Streamed):
        headers |= {"Content-Type": request.body.content_type, "Content-Length": str(request.body.length())}
    return {"headers": headers, "timeout": timeout}


def without_key(built: httpx.Request, base: httpx.URL) -> httpx.Request:
    """The request, without the API key if it leads to somebody else; httpx sees to that only where it follows a redirect."""
    if (built.url.scheme, built.url.host, built.url.port) != (base.scheme, base.host, base.port):
        built.headers.pop("Authorization", None)
    return built


def lost(error: httpx.RequestError) -> Lost:
    """What a failure means for the request."""
    return Lost(
        f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
        refused=isinstance(error, httpx.ConnectError | httpx.ConnectTimeout),
        silent=isinstance(error, httpx.ReadTimeout),
        hopeless=not isinstance(error, httpx.TransportError) or isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError),
    )


class Connection:
    """Does what flows want, over connections that are opened when they are needed: also after `close`, and anew in a forked process.

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

    def send(self, request: Request) -> Answer | Lost:
        """One request, once."""
        try:
            http = self._open()
            response = http.send(_built(http, request))
        except httpx.RequestError as error:
            return lost(error)
        return Answer(response.status_code, response.headers, response.content, str(response.url))

    def run(self, flow: Flow[T]) -> T:
        """Do a flow that gives nothing on the way; what it returns."""
        values = self.iterate(flow)
        try:
            while True:
                next(values)
        except StopIteration as end:
            result: T = end.value
            return result

    def iterate(self, flow: Flow[T]) -> Generator[Any, None, T]:
        """Do a flow, yielding what it gives."""
        stream = _Stream()
        reply: Any = None
        try:
            while True:
                try:
                    step = flow.send(reply)
                except StopIteration as end:
                    result: T = end.value
                    return result
                if isinstance(step, Give):
                    reply = None
                    yield step.value
                else:
                    reply = self._do(step, stream)
        finally:
            stream.close()
            flow.close()

    def _do(self, step: Step, stream: _Stream) -> Any:
        if isinstance(step, Send):
            return self.send(step.request)
        if isinstance(step, Open):
            return stream.open(self._open(), step)
        if isinstance(step, Read):
            return stream.read()
        assert isinstance(step, Sleep)
        time.sleep(step.seconds)
        return None

    def _open(self) -> httpx.Client:
        http = self._http
        if http is None or self._pid != os.getpid():
            # A forked process must not write into the connections of its parent.
            http = self._http = httpx.Client(**http_options(self._url, self._key))
            self._pid = os.getpid()
        return http


def _built(http: httpx.Client, request: Request) -> httpx.Request:
    built = http.build_request(request.method, request.path, content=request.body, **request_options(request))
    return without_key(built, http.base_url)


class _Stream:
    """The open stream of a flow; one at a time."""

    def __init__(self) -> None:
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def open(self, http: httpx.Client, step: Open) -> Answer | Lost:
        self.close()
        try:
            response = self._response = http.send(_built(http, step.request), stream=True)
            answer = Answer(response.status_code, response.headers, b"", str(response.url))
            if step.is_wanted(answer):
                self._pieces = response.iter_bytes()
                return answer
            content = response.read()
        except httpx.RequestError as error:
            return lost(error)
        return Answer(answer.status, answer.headers, content, answer.url)

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
    """Does what flows want, over connections that are opened when they are needed: also after `close`, and anew on another event loop.

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

    async def send(self, request: Request) -> Answer | Lost:
        """One request, once."""
        try:
            http = self._open()
            response = await http.send(_built_async(http, request))
        except httpx.RequestError as error:
            return lost(error)
        return Answer(response.status_code, response.headers, response.content, str(response.url))

    async def run(self, flow: Flow[T]) -> T:
        """Do a flow that gives nothing on the way; what it returns."""
        reply: Any = None
        stream = _AsyncStream()
        try:
            while True:
                reply = await self._do(flow.send(reply), stream)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            await stream.close()
            flow.close()

    async def iterate(self, flow: Flow[None]) -> AsyncGenerator[Any]:
        """Do a flow, yielding what it gives."""
        reply: Any = None
        stream = _AsyncStream()
        try:
            while True:
                try:
                    step = flow.send(reply)
                except StopIteration:
                    return
                if isinstance(step, Give):
                    reply = None
                    yield step.value
                else:
                    reply = await self._do(step, stream)
        finally:
            await stream.close()
            flow.close()

    async def _do(self, step: Step, stream: _AsyncStream) -> Any:
        if isinstance(step, Send):
            return await self.send(step.request)
        if isinstance(step, Open):
            return await stream.open(self._open(), step)
        if isinstance(step, Read):
            return await stream.read()
        assert isinstance(step, Sleep)
        await asyncio.sleep(step.seconds)
        return None

    def _open(self) -> httpx.AsyncClient:
        loop, http = asyncio.get_running_loop(), self._http
        if http is None or self._loop is not loop:
            # Connections belong to the loop on which they were opened.
            http = self._http = httpx.AsyncClient(**http_options(self._url, self._key))
            self._loop = loop
        return http


def _built_async(http: httpx.AsyncClient, request: Request) -> httpx.Request:
    body = AsyncBody(request.body) if isinstance(request.body, Streamed) else request.body
    built = http.build_request(request.method, request.path, content=body, **request_options(request))
    return without_key(built, http.base_url)


class _AsyncStream:
    """The open stream of a flow; one at a time."""

    def __init__(self) -> None:
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def open(self, http: httpx.AsyncClient, step: Open) -> Answer | Lost:
        await self.close()
        try:
            response = self._response = await http.send(_built_async(http, step.request), stream=True)
            answer = Answer(response.status_code, response.headers, b"", str(response.url))
            if step.is_wanted(answer):
                self._pieces = response.aiter_bytes()
                return answer
            content = await response.aread()
        except httpx.RequestError as error:
            return lost(error)
        return Answer(answer.status, answer.headers, content, answer.url)

    async def read(self) -> bytes | Lost:
        assert self._pieces is not None, "a flow reads after it has opened"
        try:
            return await anext(self._pieces, b"")
        except httpx.RequestError as error:
            return lost(error)

    async def close(self) -> None:
        response, self._response, self._pieces = self._response, None, None
        if response is not None:
            await response.aclose()
