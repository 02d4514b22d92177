"""One connection to Redis whose commands are coalesced: what all coroutines ask for in one turn of the loop travels as one pipeline.

Every script may be sent twice, so a batch that got no answer is sent again until each caller's deadline is over. redis-py's own retries
stay off: it would repeat plain commands too, and know nothing of deadlines.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from longrun.errors import LongrunError, StorageFull, StoreUnavailable
from longrun.log import Log
from longrun.store.formats import FORMAT, nearest
from longrun.store.scripts import Script

Arg = str | bytes | int | float
#: All scripts by name, as data of a format want them.
LoadScripts = Callable[[int], Mapping[str, Script]]
#: Where a page of a listing ends: score and id of its last entry. ("", "") = before the newest.
Cursor = tuple[str, str]
#: Replies that say "not now": the server starts, is a replica, cannot write to disk, or runs a long script; or it has forgotten ours, which
#: are loaded again over a new connection.
_NOT_NOW = ("LOADING", "MASTERDOWN", "READONLY", "MISCONF", "BUSY", "TRYAGAIN", "NOREPLICAS", "NOSCRIPT")
_BATCH = 512
#: Errors of a broken connection. For a transport that the other side has closed uvloop raises RuntimeError, and asyncio since Python 3.12
#: AttributeError.
BROKEN = (RedisError, OSError, TimeoutError, RuntimeError, AttributeError)

_log = Log("longrun.store")


def given(**fields: Arg | None) -> list[Arg]:
    """Names and values of the fields that have one, as scripts take them: name, value, name, value…"""
    return [each for name, value in fields.items() if value is not None for each in (name, value)]


def cursor_after(looked: int, asked: int, score: bytes, last: bytes) -> Cursor | None:
    """Where to go on; None when nothing older is left."""
    return (score.decode(), last.decode()) if looked == asked else None


def info_lines(reply: bytes | None) -> dict[str, str]:
    """The `name:value` lines of what INFO answers; none of None."""
    lines = (reply or b"").decode(errors="replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


class StoreError(LongrunError):
    """The store refused a command, and would again: a defect, or a server that is no Redis."""


class _Call:
    __slots__ = ("args", "deadline", "future", "script")

    def __init__(self, script: Script | None, args: Sequence[Arg], future: asyncio.Future[Any], deadline: float) -> None:
        self.script, self.args, self.future, self.deadline = script, args, future, deadline

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def succeed(self, value: Any) -> None:
        if not self.future.done():
            self.future.set_result(value)


class Connection:
    """Coalesced access to one server.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        load: the scripts that `run` may name, as data of a format want them.
        about: key of the hash whose field `format` is that of the data. It is read whenever a connection is made, and never for a call.
        timeout: seconds until a call is given up, when the caller does not say.
        patience: seconds without an answer after which the socket is dropped and a new one tried.

    Attributes:
        format: that of the data, as of the last look.
        scripts: those that run now.
        made: how many connections were made so far: between two the server may have lost what the first one was answered.
    """

    def __init__(self, url: str, load: LoadScripts, about: str, *, timeout: float = 2.0, patience: float = 5.0) -> None:
        self.url = url
        # RESP2: a server too old for RESP3 is then recognised. No time limit of redis-py's own: it would
        # set a timer for each reply, and `_exchange` has one for the whole batch.
        self._pool: ConnectionPool = ConnectionPool.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=timeout, protocol=2
        )
        self._load, self._about, self._timeout, self._patience = load, about, timeout, patience
        self.format = FORMAT
        self.scripts = load(FORMAT)
        self.made = 0
        self._loaded: set[str] = set()  # digests of scripts that were loaded over the connection that there is
        self._calls: list[_Call] = []
        self._wire: AbstractConnection | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

    async def run(self, name: str, *args: Arg, timeout: float | None = None) -> Any:
        """Run a script.

        Raises:
            StoreUnavailable: no answer within `timeout` seconds; the script may have run.
            StorageFull: the server is out of memory; nothing was changed.
            StoreError: the script failed.
        """
        return await self._enqueue(self.scripts[name], args, timeout)

    def start(self, name: str, *args: Arg, timeout: float | None = None) -> asyncio.Future[Any]:
        """Run a script; the future gets the answer, or fails as `run` does."""
        return self._enqueue(self.scripts[name], args, timeout)

    def use_format(self, format: int) -> None:
        """Run the scripts as data of this format want them, from now on."""
        scripts = self._load(format)
        self.format, self.scripts = format, scripts

    async def command(self, *args: Arg, timeout: float | None = None) -> Any:
        """Send a plain command that may be sent twice. Raises as `run` does."""
        return await self._enqueue(None, args, timeout)

    def _enqueue(self, script: Script | None, args: Sequence[Arg], timeout: float | None) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreUnavailable("The connection to the store is closed.")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.append(_Call(script, args, future, time.monotonic() + (self._timeout if timeout is None else timeout)))
        if self._flusher is None:
            # A task starts in the next turn of the loop: whatever else is asked for in this one joins the batch.
            self._flusher = asyncio.get_running_loop().create_task(self._flush())
        return future

    async def _flush(self) -> None:
        pause = 0.02
        try:
            while self._calls:
                batch, self._calls = self._calls[:_BATCH], self._calls[_BATCH:]
                try:
                    await self._exchange(batch)
                    pause = 0.02
                except Exception as error:
                    if not isinstance(error, BROKEN):
                        # Nobody may wait for ever because of it: the connection is made anew, and callers give up at their deadlines.
                        _log.error("the connection to the store failed", exc_info=error)
                    unanswered = [call for call in batch if not call.future.done()]
                    await self._disconnect()
                    self._give_up_late(unanswered, error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.5)
                    self._calls[:0] = unanswered
                self._give_up_late(self._calls, None)
                self._calls = [call for call in self._calls if not call.future.done()]
        finally:
            self._flusher = None

    @staticmethod
    def _give_up_late(calls: list[_Call], error: Exception | None) -> None:
        now = time.monotonic()
        for call in calls:
            if call.deadline <= now:
                why = "" if error is None else f" ({type(error).__name__})"
                call.fail(StoreUnavailable(f"The store did not answer in time{why}.", retry_after=2))

    async def _exchange(self, batch: list[_Call]) -> None:
        """Send a batch and settle its calls. Raises `_BROKEN`: those that are not settled are to be sent again, over a new connection."""
        now = time.monotonic()
        limit = max(0.05, min(min(call.deadline for call in batch) - now, self._patience))
        async with asyncio.timeout(limit):
            wire = await self._connected()
            wanted = {script.sha: script for call in batch if call.script for script in (self.scripts[call.script.name],)}
            loads = [script for sha, script in wanted.items() if sha not in self._loaded]
            commands: list[tuple[Arg, ...]] = [("SCRIPT", "LOAD", each.source) for each in loads]
            commands += [
                ("EVALSHA", self.scripts[call.script.name].sha, 0, *call.args) if call.script else tuple(call.args) for call in batch
            ]
            # hiredis packs a command seven times as fast as redis-py does.
            await wire.send_packed_command(b"".join([pack_command(each) for each in commands]), check_health=False)  # type: ignore[arg-type]
            for _ in loads:
                await wire.read_response()
            self._loaded |= {each.sha for each in loads}
            for call in batch:
                await self._settle(wire, call)

    async def _settle(self, wire: AbstractConnection, call: _Call) -> None:
        """Read one reply into its call. Raises RedisConnectionError: the server says "not now"."""
        try:
            call.succeed(await wire.read_response())
        except ResponseError as error:
            text = str(error)
            # redis-py strips the error's first word for classes of its own; the class name shows it then.
            kind = type(error).__name__
            if kind == "OutOfMemoryError" or text.startswith("OOM"):
                call.fail(StorageFull("The store is out of memory. Nothing was stored; try again later.", retry_after=5))
            elif text.startswith(_NOT_NOW) or kind in ("BusyLoadingError", "ReadOnlyError", "NoScriptError"):
                raise RedisConnectionError(text) from None
            else:
                call.fail(StoreError(f"{call.script.name if call.script else call.args[0]!r}: {text}"))

    async def _connected(self) -> AbstractConnection:
        if self._wire is None:
            self._wire = self._pool.make_connection()  # type: ignore[no-untyped-call]
        if not self._wire.is_connected:
            await self._wire.connect()
            self.made += 1
            await self._greet(self._wire)
        return self._wire

    async def _greet(self, wire: AbstractConnection) -> None:
        """Ask for the format of the data, and have scripts loaded as that wants them. Nearly always it is the one that is known."""
        self._loaded.clear()
        await wire.send_packed_command(wire.pack_command("HGET", self._about, "format"), check_health=False)
        try:
            found = await wire.read_response()
        except ResponseError:
            found = None  # a server on which nothing may be started: those who look at it say why
        if found is None:
            return  # fresh data get the format that is known
        self.format = nearest(found.decode(errors="replace"))
        self.scripts = self._load(self.format)

    async def _disconnect(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            if wire._writer is not None:
                wire._writer.transport.abort()  # a socket that is only closed waits until the rest of what was to be sent is
            with contextlib.suppress(*BROKEN):
                await wire.disconnect(nowait=True)

    async def close(self) -> None:
        """Close the socket; calls that wait are given up."""
        self._closed = True
        flusher = self._flusher
        if flusher is not None:
            flusher.cancel()
            await asyncio.gather(flusher, return_exceptions=True)
        for call in self._calls:
            call.fail(StoreUnavailable("The connection to the store was closed."))
        self._calls.clear()
        await self._disconnect()
        # The socket is closed in the loop's next turn, which may be its last.
        await asyncio.sleep(0)
