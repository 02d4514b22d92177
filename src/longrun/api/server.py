"""uvicorn with an end in two steps: first nobody sends new requests here, then nobody is accepted.

What uvicorn does when it shuts down: it closes the listening socket and every idle connection, answers what it has begun to read, and
waits for that (`patience`). A request that is on its way at that moment is lost, so a balancer has to look away first: from the signal on
`/readyz` says 503 and every answer closes its connection, and requests are served as before, for `drain` seconds.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from longrun.api.http.protocol import HttpProtocol
from longrun.api.http.websockets import WebSocketProtocol
from longrun.api.http.write_timeout import WriteTimeout, bound_unsent
from longrun.api.resources import Resources
from longrun.steps import await_steps, take_steps

#: Objects that may be made and not freed until the collector looks at the youngest. A request makes hundreds and hardly a cycle.
_YOUNG = 10_000
#: Seconds between two looks for readers that take nothing.
_LOOK = 1.0
#: Seconds that a reader which takes nothing gets when this process stops.
_STOP_PATIENCE = 3.0
#: Seconds for requests whose connection was broken off to end; and for what the app holds to be closed, after a second signal.
_HURRY = 1.0
#: Connections taken from another process in one tick.
_MOST_TAKEN = 100


class ApiServer(uvicorn.Server):
    """A server that drains when it gets SIGTERM or SIGINT, and ends at once when it gets another.

    Args:
        app: what `build_app` made.
        drain: seconds from the signal until no more connections are accepted; event streams and waiting requests end then.
        patience: seconds that open requests get after that.
        beside: listening sockets of other processes. What still waits there at the next tick is taken: they are away, or busy.
        on_ready: called once connections are accepted.
        on_stopped: called when all has stopped. A thread that hangs in a call of the operating system may still be waited for then.
    """

    def __init__(
        self,
        app: FastAPI,
        *,
        drain: float,
        patience: float,
        beside: Sequence[socket.socket] = (),
        on_ready: Callable[[], None] | None = None,
        on_stopped: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,  # ours is set
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here asks who calls, or by which scheme
                lifespan="on",
                timeout_graceful_shutdown=patience,  # type: ignore[arg-type]  # a number of seconds: `asyncio.wait_for` takes it
                http=HttpProtocol,
                ws=WebSocketProtocol,
                ws_max_size=64 * 1024,  # all that a client may say has 16 bytes
                ws_per_message_deflate=False,  # events are small; a compressor costs each reader more memory than everything else
                ws_ping_interval=20,
                # An answer may wait behind all that a slow reader has not read yet.
                ws_ping_timeout=60,
            )
        )
        self._resources: Resources = app.state.longrun
        self._drain = drain
        self._beside, self._on_ready, self._on_stopped = beside, on_ready, on_stopped
        self._stopping_since: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._write_timeout = WriteTimeout()
        self._cutting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        self._loop = asyncio.get_running_loop()
        for each in (*(sockets or ()), *self._beside):
            bound_unsent(each)
        for each in self._beside:
            each.setblocking(False)  # their own process may not have come to it yet
        await super().startup(sockets)
        self._cutting = self._loop.create_task(self._cut_dead_readers())
        _spare_the_collector()
        if self.started and self._on_ready is not None:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop. Uvicorn's own way would end event streams now, and would send the signal again at the end."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self._resources.stopping = True
        else:
            self.should_exit = self.force_exit = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._cut)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; true = shut down now."""
        if self._stopping_since is not None and time.monotonic() >= self._stopping_since + self._drain:
            self.should_exit = True
            take_steps((("dismiss who waits", self._resources.dismiss),))
        if not self.should_exit:
            await self._help_out()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, in steps: a connection that cannot be closed in order keeps no other from being.

        A reader that takes nothing does not hold it up for long.
        """
        self._write_timeout = WriteTimeout(_STOP_PATIENCE)
        connections = set(self.server_state.connections)
        await await_steps(
            (
                *(("close a listening socket", each.close) for each in (*self.servers, *(sockets or ()))),
                *(("close a connection in order", partial(self._close_in_order, each)) for each in connections),
                ("wait for answers", partial(self._wait_for_answers, connections)),
                ("break off what has not ended", self._cut),
                ("end what has noticed nothing of that", self._cancel_tasks),
                ("close what the app holds", self._close_app),
                ("stop looking for dead readers", self._stop_cutting),
                ("bound the end of the process", self._on_stopped),
            )
        )

    @staticmethod
    def _close_in_order(connection: Any) -> None:
        """Close it when it is idle, or have it close after its answer. Raises what that raises: then it is cut."""
        try:
            connection.shutdown()
        except BaseException:
            connection.transport.abort()
            raise

    async def _wait_for_answers(self, asked: set[Any]) -> None:
        await asyncio.sleep(0.1)  # for what has come in, and was not looked at yet
        end = time.monotonic() + (self.config.timeout_graceful_shutdown or 0)
        while (self.server_state.connections or self.server_state.tasks) and not self.force_exit and time.monotonic() < end:
            await asyncio.sleep(0.05)
            # Those that were accepted when the listening sockets were being closed. One that says nothing would be waited for.
            late = set(self.server_state.connections) - asked
            asked |= late
            take_steps(("close a late connection", partial(self._close_in_order, each)) for each in late)

    async def _cancel_tasks(self) -> None:
        tasks = tuple(self.server_state.tasks)
        if tasks:
            _, noticed_nothing = await asyncio.wait(tasks, timeout=_HURRY)
            for task in noticed_nothing:
                task.cancel()

    async def _close_app(self) -> None:
        async with asyncio.timeout(_HURRY if self.force_exit else None):
            await self.lifespan.shutdown()

    def _stop_cutting(self) -> None:
        if self._cutting is not None:
            self._cutting.cancel()

    async def _cut_dead_readers(self) -> None:
        while True:
            for transport in self._write_timeout.look(self._transports(), time.monotonic()):
                transport.abort()
            await asyncio.sleep(_LOOK)

    async def _help_out(self) -> None:
        loop = asyncio.get_running_loop()
        for each in self._beside:
            for _ in range(_MOST_TAKEN):
                try:
                    connection, _ = each.accept()
                except OSError:
                    break  # nobody waits; or there is nothing to hold a connection with, and the next tick tries again
                connection.setblocking(False)
                with suppress(OSError):  # the caller has left meanwhile
                    await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        # As in uvicorn's `startup`.
        return HttpProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _cut(self) -> None:
        """Break what is open: uvicorn waits for connections to close, also when it is in a hurry."""
        # It is not the callers who leave: what they wait for goes on.
        self._resources.dismiss()
        for transport in list(self._transports()):
            transport.abort()

    def _transports(self) -> Iterator[asyncio.Transport]:
        for connection in self.server_state.connections:
            transport = getattr(connection, "transport", None)
            if transport is not None:
                yield transport


def _spare_the_collector() -> None:
    """What was imported and made until now lives as long as the process: the collector need not look at it again.

    It is 100,000 objects, 20 ms, once every two thousand requests: a fifth of what a submit costs, and a pause for all who wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
