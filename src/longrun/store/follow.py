"""Following what happens to jobs: one pub/sub connection per process, however many readers wait.

Pub/sub may drop messages, so a reader treats a message as a hint to read, and reads anyway when none came for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from longrun.log import Log
from longrun.steps import await_steps
from longrun.store.connection import BROKEN

#: Seconds a reader waits for the server to confirm its channel before it goes on without; messages then come when the store is back.
_CONFIRM = 0.5


_log = Log("longrun.store")
_SILENT = "longrun-silent"
#: Messages, and bytes of them, that are kept for a reader that does not take them; it finds out by their seqs that some are missing.
_MOST, _MOST_BYTES = 100, 64 * 1024
#: The message that tells readers to stop waiting.
DISMISSED = b"dismissed"
#: The message that says that others may have been missed: the connection was lost, and perhaps the server is another one now.
RECONNECTED = b"reconnected"


class Listener:
    """What one reader gets from its channel."""

    __slots__ = ("_event", "_size", "messages")

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._size = 0
        self.messages: list[bytes] = []

    def put(self, message: bytes) -> None:
        """Hand over a message and wake the reader; only the latest are kept."""
        self.messages.append(message)
        self._size += len(message)
        while len(self.messages) > _MOST or (self._size > _MOST_BYTES and len(self.messages) > 1):
            self._size -= len(self.messages.pop(0))
        self._event.set()

    async def wait(self, timeout: float) -> list[bytes]:
        """The messages since the last call; an empty list after `timeout` seconds without one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()
        self._event.clear()
        messages, self.messages, self._size = self.messages, [], 0
        return messages


class _Channel:
    __slots__ = ("late", "listeners", "live")

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.live = asyncio.Event()  # set once the server has confirmed
        self.late = False  # somebody did not wait for that


class Follower:
    """Listens to channels of one server.

    Args:
        url: `redis://`, `rediss://` or `unix://`.

    Attributes:
        dismissed: this process is about to stop: who waits is to leave with what it has.
    """

    def __init__(self, url: str) -> None:
        self.dismissed = False
        self._redis: Redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=2, health_check_interval=10)
        self._pubsub: PubSub | None = None
        self._channels: dict[str, _Channel] = {}
        self._reader: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._closed = False

    @contextlib.asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[Listener]:
        """Listen to `channel` while the block runs; nothing said from its first line on is missed.

        A store that is away is no error here: messages come when it is back, the first of them `reconnected`.
        """
        listener = Listener()
        group = self._channels.get(channel)
        if group is None:
            group = self._channels[channel] = _Channel()
            self._send(self._command("subscribe", channel))
        group.listeners.add(listener)
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._read())
        try:
            # The store is read over another connection: only what the server has confirmed is known to come before that read.
            try:
                async with asyncio.timeout(_CONFIRM):
                    await group.live.wait()
            except TimeoutError:
                group.late = True
            yield listener
        finally:
            group.listeners.discard(listener)
            if not group.listeners and self._channels.get(channel) is group:
                del self._channels[channel]
                # In a task of its own: this block also runs when the reader is being canceled, and could not wait then.
                self._send(self._command("unsubscribe", channel))

    def dismiss(self) -> None:
        """Make every reader stop waiting, now and from now on."""
        self.dismissed = True
        for group in self._channels.values():
            self._hand_out(group, DISMISSED)

    def _send(self, command: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(command)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _command(self, verb: str, channel: str) -> None:
        async with self._lock:
            if self._pubsub is None:
                return  # `_read` connects, and subscribes to everything then
            try:
                if verb == "subscribe":
                    await self._pubsub.subscribe(channel)
                else:
                    await self._pubsub.unsubscribe(channel)
            except BROKEN:
                await self._drop()

    async def _drop(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            with contextlib.suppress(*BROKEN):
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _read(self) -> None:
        pause = 0.05
        # Not by its cancellation alone: redis-py may swallow one that comes while it connects.
        while not self._closed:
            try:
                pubsub = self._pubsub or await self._connect()
                if self._closed:
                    return
                message = await pubsub.get_message(timeout=5.0)
                if message is not None:
                    self._take(message["type"], message["channel"], message["data"])
                pause = 0.05
            except Exception as error:
                if not isinstance(error, BROKEN):
                    _log.error("following failed, it is begun again", exc_info=error)
                async with self._lock:
                    await self._drop()
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)

    async def _connect(self) -> PubSub:
        async with self._lock:
            if self._pubsub is None:
                # Kept at once: one that is given up half-way is closed too.
                self._pubsub = pubsub = self._redis.pubsub()
                try:
                    # One channel that nobody speaks on: with it the reader always reads, and hears of the next subscription at once.
                    await pubsub.subscribe(_SILENT, *self._channels)
                except BaseException:
                    await self._drop()
                    raise
            return self._pubsub

    def _take(self, kind: str, channel: bytes, data: bytes) -> None:
        group = self._channels.get(channel.decode()) if channel else None
        if group is None:
            return
        if kind == "message":
            self._hand_out(group, data)
        elif kind == "subscribe":
            if group.live.is_set() or group.late:
                # Confirmed a second time: the connection was lost, and with it what was said meanwhile. Or so late that somebody has read
                # before. All must read again.
                self._hand_out(group, RECONNECTED)
            group.late = False
            group.live.set()

    @staticmethod
    def _hand_out(group: _Channel, data: bytes) -> None:
        for listener in tuple(group.listeners):
            listener.put(data)

    async def close(self) -> None:
        """Stop listening and close the connection."""
        self._closed = True
        reader, self._reader = self._reader, None
        tasks = [task for task in (reader, *self._sending) if task is not None]
        for task in tasks:
            task.cancel()
        await await_steps(
            (
                ("end the tasks of the follower", lambda: asyncio.gather(*tasks, return_exceptions=True)),
                ("close the follower's channels", self._drop),
                ("close the follower's connection", self._redis.aclose),
            )
        )
