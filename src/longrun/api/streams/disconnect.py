"""A caller goes away while it waits; with `cancel_on_disconnect` the job that it has just submitted is canceled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from starlette.requests import ClientDisconnect, Request

from longrun.errors import JobGone, JobNotFound, StoreUnavailable
from longrun.jobs.record import JobRecord
from longrun.service import control
from longrun.service.caller import Caller
from longrun.service.read import wait

T = TypeVar("T")

_log = structlog.get_logger("longrun.api")


async def unless_left(request: Request, waiting: Coroutine[Any, Any, T]) -> T:
    """What `waiting` gives. It is canceled when the caller goes away before, so that nobody's wait holds nothing.

    Raises:
        ClientDisconnect: the caller went away.
    """
    answer = asyncio.ensure_future(waiting)
    leaving = asyncio.ensure_future(_leaves(request))
    try:
        await asyncio.wait({answer, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise ClientDisconnect
    finally:
        # Also when the server ends this request: then nobody has left.
        answer.cancel()
        leaving.cancel()
        await asyncio.gather(answer, leaving, return_exceptions=True)


async def wait_beside(request: Request, caller: Caller, job_id: str, *, timeout: float) -> JobRecord:
    """As `wait`, for a caller whose job is canceled when it goes away before.

    Raises:
        ClientDisconnect: it went away.
        StoreUnavailable, JobNotFound, JobGone
    """
    try:
        return await unless_left(request, wait(caller, job_id, timeout=timeout))
    except ClientDisconnect:
        await cancel_for_nobody(caller, job_id)
        raise


async def cancel_for_nobody(caller: Caller, job_id: str) -> None:
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


async def _leaves(request: Request) -> None:
    """Until the connection is gone; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
