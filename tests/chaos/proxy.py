"""A TCP port of loopback that leads to Valkey's unix socket, or to another port, and does to the traffic what networks do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_CHUNK = 1 << 16
#: With this a socket that is closed says RST instead of FIN.
_NO_LINGER = struct.pack("ii", 1, 0)


class Swallow:
    """The reply to one request is dropped, and its connection is reset."""

    def __init__(self, marker: bytes) -> None:
        self.marker = marker
        self.done = threading.Event()  #: set once the server has replied, so the request has had its effect


class _Link:
    """One client's connection and its other half to the server."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._server: asyncio.StreamWriter | None = None
        self._tail = b""
        self._swallow: Swallow | None = None
        self.stranded = False

    async def run(self) -> None:
        try:
            from_server, self._server = await self._proxy.reach()
        except OSError:
            return self.reset()
        late = asyncio.StreamReader()
        pumps = [
            self._hold_up(self._reader, late),
            self._pump(late, self._server, self._request),
            self._pump(from_server, self._writer, self._reply),
        ]
        tasks = [asyncio.ensure_future(pump) for pump in pumps]
        try:
            await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._close()

    async def _hold_up(self, reader: asyncio.StreamReader, late: asyncio.StreamReader) -> None:
        """Pass everything on after the pause: a long way, not a narrow one."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                loop.call_later(self._proxy.pause, late.feed_data, data) if self._proxy.pause else late.feed_data(data)
        loop.call_later(self._proxy.pause, late.feed_eof)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, treat: Callable[[bytes], Awaitable[bytes | None]]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if (left := await treat(data)) is None:
                    return self.reset()
                writer.write(left)
                await writer.drain()

    async def _request(self, data: bytes) -> bytes | None:
        await self._proxy.flowing.wait()
        if self._proxy.dice is not None and self._proxy.dice.random() < self._proxy.chance:
            return None
        swallow = self._proxy.swallow
        if swallow is not None:
            window = self._tail + data
            self._tail = window[-len(swallow.marker) :]
            if swallow.marker in window:
                self._swallow, self._proxy.swallow = swallow, None
        return b"" if self.stranded else data

    async def _reply(self, data: bytes) -> bytes | None:
        await self._proxy.flowing.wait()
        if self._swallow is not None:
            self._swallow.done.set()
            return None
        if self._proxy.left is not None:
            data, self._proxy.left = data[: self._proxy.left], self._proxy.left - len(data)
            if self._proxy.left <= 0:
                self._proxy.cuts += 1
                self._proxy.left = next(self._proxy.later, None)
                self._writer.write(data)
                with contextlib.suppress(OSError):
                    await self._writer.drain()
                return None
        return b"" if self.stranded else data

    def reset(self) -> None:
        """End the client's half with RST, the server's in order."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._writer.transport.abort()
        self._close()

    def _close(self) -> None:
        for writer in (self._writer, self._server):
            if writer is not None:
                writer.close()


class Proxy:
    """A context manager; its verbs may be called from any thread and have taken effect when they return.

    Args:
        target: the server's unix socket, or its port on loopback.
    """

    def __init__(self, target: Path | int) -> None:
        self.target = target
        self.port = 0
        self.pause = 0.0  # the rest belongs to the loop's thread
        self.left: int | None = None
        self.later: Iterator[int] = iter(())
        self.cuts = 0
        self.dice: random.Random | None = None
        self.chance = 0.0
        self.swallow: Swallow | None = None
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"redis://127.0.0.1:{self.port}/0"

    def delay(self, seconds: float) -> None:
        """Every request waits this long before it goes on; 0 = none."""
        self._call(lambda: setattr(self, "pause", seconds))

    def freeze(self) -> None:
        """No byte goes through, in either direction; connections stay, and new ones are accepted."""
        self._do(self._let_flow(False))

    def thaw(self) -> None:
        """Everything that was held back by `freeze` goes on."""
        self._do(self._let_flow(True))

    def reset(self) -> int:
        """Reset (RST) every connection; how many there were. New ones are accepted."""
        return self._call(lambda: sum(1 for link in list(self._links) if not link.reset()))

    def drop_some(self, chance: float, dice: random.Random) -> None:
        """Every request has this chance to reset its connection instead of reaching the server; 0 = none."""
        self._call(lambda: (setattr(self, "chance", chance), setattr(self, "dice", dice)))

    def half_open(self) -> None:
        """Every connection of now stays open and leads nowhere, as behind a firewall that forgot it. New ones are whole."""
        self._call(lambda: [setattr(link, "stranded", True) for link in self._links])

    def refuse(self) -> None:
        """Reset all connections, and refuse new ones until `admit`."""
        self._do(self._shut())

    def admit(self) -> None:
        """Accept connections again."""
        self._do(self._open())

    def cut_after(self, size: int, *later: int) -> None:
        """Let `size` more bytes of replies through, and reset the connection in the middle of what follows; again after each of `later`."""

        def begin() -> None:
            self.left, self.later = size, iter(later)

        self._call(begin)

    def swallow_reply(self, marker: bytes) -> Swallow:
        """The next request that holds `marker` (such as a script's SHA-1) is served, and its reply is lost with its connection."""
        swallow = Swallow(marker)
        self._call(lambda: setattr(self, "swallow", swallow))
        return swallow

    async def reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server. Raises OSError."""
        if isinstance(self.target, int):
            return await asyncio.open_connection("127.0.0.1", self.target)
        return await asyncio.open_unix_connection(str(self.target))

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return self._call(lambda: len(self._links))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _call(self, change: Callable[[], Any]) -> Any:
        async def on_the_loop() -> Any:
            return change()

        return self._do(on_the_loop())

    async def _let_flow(self, flows: bool) -> None:
        if flows:
            self.flowing.set()
        else:
            self.flowing.clear()

    async def _open(self) -> None:
        if self.port == 0:
            self.flowing = asyncio.Event()
            self.flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in list(self._links):
            link.reset()

    async def _end(self) -> None:
        await self._shut()
        self.flowing.set()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await link.run()
        finally:
            self._links.discard(link)
