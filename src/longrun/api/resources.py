"""The open parts of the running app: opened once for each event loop, at start-up or by the first request."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

from starlette.requests import HTTPConnection

from longrun.errors import SettingsError, StoreUnavailable
from longrun.log import Log
from longrun.service.caller import Caller
from longrun.service.parts import Parts
from longrun.steps import await_steps
from longrun.store.losses import Loss
from longrun.version import API_PREFIX

OpenParts = Callable[[], Parts]
#: Runs until it is canceled; `longrun.wiring` passes the loop of the chores.
StartChores = Callable[[Parts], Awaitable[None]]

#: Seconds between two looks at a server that is not ours.
_LOOK = 0.5

_log = Log("longrun.api")


class Resources:
    """Opens and closes what requests need.

    An app that is mounted in another one never sees a start-up (Starlette passes the lifespan on to the outermost app only), and a test may
    call one app from several event loops; so the parts are opened by whoever needs them first, and again when the loop is another one.
    Opening makes no connection and never awaits, which is why two requests cannot both do it.

    Args:
        open_parts: makes the parts, without I/O.
        start_chores: upkeep that runs beside the requests; None = none.

    Attributes:
        stopping: this process was asked to stop: balancers are to send nothing new here, and every answer closes its connection.
    """

    def __init__(self, open_parts: OpenParts, start_chores: StartChores | None) -> None:
        self._open_parts, self._start_chores = open_parts, start_chores
        self._parts: Parts | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Future[None]] = []
        self.stopping = False

    def parts(self) -> Parts:
        """The open parts; call it inside the event loop.

        Raises:
            SettingsError: no store is known, or another setting keeps it from being opened.
        """
        loop = asyncio.get_running_loop()
        if self._parts is None or self._loop is not loop:
            # What an ended loop left behind cannot be closed any more: its sockets went with it.
            self._parts, self._loop = self._open_parts(), loop
            self._tasks = [asyncio.ensure_future(self._watch_server())]
            if self._start_chores is not None:
                self._tasks.append(asyncio.ensure_future(self._start_chores(self._parts)))
                self._tasks[-1].add_done_callback(_report)
        return self._parts

    @property
    def loss(self) -> Loss | None:
        """The latest loss of the open store."""
        return None if self._parts is None else self._parts.store.losses.latest

    def dismiss(self) -> None:
        """End event streams and answer waiting requests with what is known, now and from now on."""
        if self._parts is not None:
            self._parts.store.follower.dismiss()

    async def _watch_server(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if server_stops():
                self.dismiss()
                return

    async def close(self) -> None:
        """Stop the chores and close the parts."""
        parts, tasks = self._parts, self._tasks
        self._parts, self._tasks = None, []
        if parts is None or self._loop is not asyncio.get_running_loop():
            return
        for task in tasks:
            task.cancel()
        chores = asyncio.gather(*tasks, return_exceptions=True)
        await await_steps((("end the chores", lambda: chores), ("close the parts", parts.close)))


def _report(chores: asyncio.Future[None]) -> None:
    if not chores.cancelled() and (error := chores.exception()) is not None:
        _log.error("chores stopped", exc_info=error)


def server_stops() -> bool:
    """Whether the uvicorn server of this process is about to stop, also when it is another application's.

    It calls nobody before all connections are closed, and an open stream would keep it waiting. Its handler of SIGTERM is a method of the
    server, which is how we find it, as sse-starlette does.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))


def resources_of(request: HTTPConnection) -> Resources:
    """What belongs to the running app."""
    resources: Resources = request.app.state.longrun
    return resources


def parts_of(request: HTTPConnection) -> Parts:
    """The parts for a request.

    Raises:
        StoreUnavailable: they cannot be opened; the log says why.
    """
    try:
        return resources_of(request).parts()
    except SettingsError as error:
        _log.error("the service cannot be opened", reason=str(error))
        raise StoreUnavailable("The service is not set up. The operator finds the reason in the log.", retry_after=5) from error


def known_loss(request: HTTPConnection) -> Loss | None:
    """What the store has lost in the last day, as far as is known; None also where no service is open."""
    resources: Resources | None = getattr(getattr(request.app, "state", None), "longrun", None)
    return None if resources is None else resources.loss


def caller_of(request: HTTPConnection) -> Caller:
    """Who asks. URLs begin with the public URL when one is set, otherwise with the path under which the app is reached.

    Raises as `parts_of` does.
    """
    parts = parts_of(request)
    root = parts.settings.public_url.rstrip("/") or request.scope.get("root_path", "").rstrip("/")
    return Caller(parts, request.scope["state"]["tenant"], f"{root}{API_PREFIX}")
