"""A caller goes away while it waits; with `cancel_on_disconnect` the job that it has just submitted is canceled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from longrun.errors import JobGone, JobNotFound, StoreUnavailable
from longrun.log import Log
from longrun.service import control
from longrun.service.caller import Caller

T = TypeVar("T")

_log = Log("longrun.api")


async def disconnected(receive: Receive) -> None:
    """Return when the connection is gone. The body was read before, or does not matter."""
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def ended_by(leaving: asyncio.Future[Any]) -> AsyncIterator[None]:
    """What is inside ends with ClientDisconnect as soon as `leaving` is done; `leaving` is canceled when it is left.

    An asyncio.timeout without a time, which costs a reader less than a task of its own.
    """
    limit = asyncio.timeout(None)

    def end(_: object) -> None:
        with suppress(RuntimeError):  # it is over, or being ended
            limit.reschedule(asyncio.get_running_loop().time())

    try:
        async with limit:
            leaving.add_done_callback(end)
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise ClientDisconnect from None
    finally:
        leaving.remove_done_callback(end)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)


async def unless_left(request: Request, waiting: Awaitable[T]) -> T:
    """What `waiting` gives. It ends when the caller goes away before, so that nobody's wait holds nothing. Raises ClientDisconnect."""
    async with ended_by(asyncio.ensure_future(disconnected(request.receive))):
        return await waiting


async def cancel_abandoned(caller: Caller, job_id: str) -> None:
    """Cancel the job of a caller that has gone away. When this process breaks connections off because it stops, the job goes on."""
    if caller.store.follower.dismissed:
        return
    with suppress(JobNotFound, JobGone):
        try:
            job = await control.cancel(caller, job_id)
        except StoreUnavailable as error:
            _log.warning("job of a caller that went away is not canceled", job_id=job_id, reason=str(error))
        else:
            _log.info("job canceled, its caller went away", job_id=job_id, status=job.status.value)
