"""Reports the deaths of processes to the store: a dead worker's jobs need not wait for their leases, and operators see what keeps dying."""

from __future__ import annotations

import asyncio
import queue
import secrets
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from longrun.cli.supervisor import STEADY, Death, describe_exit

if TYPE_CHECKING:
    from longrun.settings import Settings

#: /readyz names a part that has died this often in a row.
LOOP = 3


class Reporter:
    """Reports deaths to the store, one after the other, on a thread of its own: a store that is away must not stop the supervisor.

    Args:
        settings: lease, prefix.
        redis_url: the store; None: the embedded Valkey that runs in `data`.
        say: prints a line for the user; called on the thread.
    """

    def __init__(self, settings: Settings, redis_url: str | None, say: Callable[[str], None]) -> None:
        self._settings, self._url, self._say = settings, redis_url, say
        self._mark = secrets.token_hex(3)  # containers may share the host's name: nobody's report is to replace another's
        self._deaths: queue.SimpleQueue[Death] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="reporter", daemon=True).start()

    def report(self, death: Death) -> None:
        """Report a death on the thread. Returns at once."""
        self._deaths.put(death)

    def _work(self) -> None:
        while True:
            death = self._deaths.get()
            try:
                asyncio.run(self._report(death))
            except Exception as error:
                # The leases run out by themselves; this only takes longer.
                self._say(f"the death of {death.role} {death.pid} could not be reported: {error}")

    async def _report(self, death: Death) -> None:
        from longrun.wiring import open_store

        store = open_store(self._settings, self._url, timeout=self._settings.lease)
        try:
            if death.identity:
                moved = await store.upkeep.report_lost(death.identity)
                if moved:
                    self._say(f"{len(moved)} jobs of the dead worker are taken care of")
            if death.deaths >= LOOP:
                text = f"{describe_exit(death.status)}, {death.deaths} times in a row; next start in {death.pause:g} s"
                await store.upkeep.report_trouble(f"{death.role}-{self._mark}@{socket.gethostname()}", text, death.pause + STEADY)
        finally:
            await store.close()
