"""The open parts of the running app: opened once for each event loop, at start-up or by the first request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from starlette.requests import Request

from longrun.errors import SettingsError, StoreUnavailable
from longrun.service.parts import Parts

OpenParts = Callable[[], Parts]
#: Runs until it is canceled; `longrun.wiring` passes the loop of the chores.
StartChores = Callable[[Parts], Awaitable[None]]

_log = structlog.get_logger("longrun.api")


class Resources:
    """Opens and closes what requests need.

    An app that is mounted in another one never sees a start-up (Starlette passes the lifespan on to the outermost app only), and a test may
    call one app from several event loops; so the parts are opened by whoever needs them first, and again when the loop is another one.
    Opening makes no connection and never awaits, which is why two requests cannot both do it.

    Args:
        open_parts: makes the parts, without I/O.
        start_chores: upkeep that runs beside the requests; None = none.

    Attributes:
        stopping: this process was told to stop: balancers are to send nothing new here, and every answer closes its connection.
    """

    def __init__(self, open_parts: OpenParts, start_chores: StartChores | None) -> None:
        self._open_parts, self._start_chores = open_parts, start_chores
        self._parts: Parts | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._chores: asyncio.Future[None] | None = None
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
            if self._start_chores is not None:
                self._chores = asyncio.ensure_future(self._start_chores(self._parts))
                self._chores.add_done_callback(_report)
        return self._parts

    def dismiss(self) -> None:
        """End event streams and answer waiting requests with what is known, now and from now on."""
        if self._parts is not None:
            self._parts.store.follower.dismiss()

    async def close(self) -> None:
        """Stop the chores and close the store."""
        parts, chores, mine = self._parts, self._chores, self._loop is asyncio.get_running_loop()
        self._parts = self._chores = None
        if not mine:
            return
        if chores is not None:
            chores.cancel()
            await asyncio.gather(chores, return_exceptions=True)
        if parts is not None:
            await parts.store.close()


def _report(chores: asyncio.Future[None]) -> None:
    if not chores.cancelled() and (error := chores.exception()) is not None:
        _log.error("chores stopped", exc_info=error)


def parts_of(request: Request) -> Parts:
    """The parts for a request.

    Raises:
        StoreUnavailable: they cannot be opened; the log says why.
    """
    resources: Resources = request.app.state.longrun
    try:
        return resources.parts()
    except SettingsError as error:
        _log.error("the service cannot be opened", reason=str(error))
        raise StoreUnavailable("The service is not set up. The operator finds the reason in the log.", retry_after=5) from error
