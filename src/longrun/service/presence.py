"""Each process that works on the data announces the formats that it can work on, and leaves the data when they have another."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Literal

from longrun.errors import LongrunError
from longrun.log import Log
from longrun.settings import Settings
from longrun.store.formats import FORMAT, OLDEST
from longrun.store.store import Store
from longrun.version import VERSION

log = Log("longrun.store")
#: `app`: an application that submits jobs by `longrun.submit`.
Role = Literal["api", "worker", "app"]
_LEAVING = 0.5  # seconds that a process which ends waits for the store to hear of it


async def stay_announced(store: Store, settings: Settings, role: Role, identity: str) -> None:
    """Announce this process every heartbeat; returns when this version must leave the data alone, and the log has said why.

    Args:
        identity: of the process, from `clock.new_identity`; of a worker its own.
    """
    entry = {"role": role, "host": socket.gethostname(), "pid": os.getpid(), "version": VERSION, "formats": (OLDEST, FORMAT)}
    try:
        while True:
            try:
                answer = await store.presence.announce(identity, entry)
            except Exception as error:
                # It is asked again; meanwhile the older shape is written, if the format was raised, and that does no harm.
                log.warning("process could not announce itself", error=str(error), exc_info=not isinstance(error, LongrunError))
            else:
                if answer.raised_from:
                    log.info("the format of the data was raised", before=answer.raised_from, now=answer.format)
                if answer.foreign:
                    mend = "start this process again with the version that the others run"
                    found = "the data have a format that this version does not know: this process leaves them"
                    log.critical(found, format=answer.format, formats=entry["formats"], mend=mend)
                    return
            await asyncio.sleep(settings.heartbeat)
    finally:
        with suppress(LongrunError):
            await store.presence.leave(identity, timeout=_LEAVING)


async def while_known(announcing: Coroutine[Any, Any, None], *work: Coroutine[Any, Any, None]) -> None:
    """Do the work until it is done, or until `announcing` returns. Raises what the work raises."""
    tasks = [asyncio.ensure_future(each) for each in (announcing, asyncio.gather(*work))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
