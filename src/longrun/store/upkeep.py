"""The verbs of chores. All are idempotent and touch at most 100 jobs a call; any process may call them at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from longrun.settings import Settings
from longrun.store.connection import Connection

MOST = 100


class Upkeep:
    """See the module."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._run = connection.run
        self._lease, self._tombstone = int(settings.lease * 1000), int(settings.tombstone * 1000)

    async def sweep(self) -> dict[str, str]:
        """Re-queue jobs whose lease ran out: job id → status after."""
        reply = await self._run("sweep", self._lease, MOST)
        return {reply[i].decode(): reply[i + 1].decode() for i in range(0, len(reply), 2)}

    async def report_lost(self, worker: str) -> dict[str, str]:
        """Re-queue the jobs of a worker that has died, without waiting for its leases: job id → status after. `worker`: its identity.

        Only for a worker that was seen to die: jobs of a live one run twice (and one outcome counts). Its name is free then.
        """
        cursor, moved = b"0", dict[str, str]()
        while True:
            cursor, *reply = await self._run("lost", worker, cursor, MOST)
            moved |= {reply[i].decode(): reply[i + 1].decode() for i in range(0, len(reply), 2)}
            if cursor == b"0":
                return moved

    async def report_trouble(self, part: str, text: str, life: float) -> None:
        """Have /readyz show for `life` seconds that something is wrong with a part (`worker-1f3a9c@host`); empty text = no longer."""
        await self._run("trouble", part, text, int(life * 1000))

    async def release_due(self) -> int:
        """Queue delayed and retrying jobs that are due, expire those that did not start in time; how many were looked at."""
        return int(await self._run("release_due", MOST))

    async def republish(self, age: float) -> int:
        """Push the tickets of jobs again whose ticket was popped over `age` seconds ago and not claimed since; how many."""
        return int(await self._run("republish", int(age * 1000), MOST))

    async def refill(self, lane: str, *, push: bool) -> tuple[int, int, int]:
        """Waiting jobs, tickets, and tickets pushed (only with `push`, and only when there were none) of a lane."""
        waiting, tickets, pushed = await self._run("refill", lane, int(push), MOST)
        return waiting, tickets, pushed

    async def overtaken(self, lane: str, age: float, priorities: Iterable[int] = range(10)) -> int:
        """Push the tickets of a lane's jobs again that one pushed `age` seconds after them has overtaken; how many.

        `priorities`: those in which jobs wait.
        """
        return sum(await asyncio.gather(*[self._overtaken(lane, 9 - priority, age) for priority in priorities]))

    async def _overtaken(self, lane: str, level: int, age: float) -> int:
        skip = total = 0
        looked_at = MOST
        while looked_at >= MOST:
            looked_at, pushed = await self._run("overtaken", lane, level, int(age * 1000), skip, MOST)
            skip, total = skip + looked_at, total + pushed
        return total

    async def expire(self) -> int:
        """Remove records whose time is over; how many were looked at."""
        return int(await self._run("expire", self._tombstone, MOST))

    async def bury(self) -> int:
        """Have the children of jobs go that went, or whose data did; how many entries of journals were looked at.

        Children whose tree a retry has taken over stay.
        """
        return int(await self._run("bury", self._tombstone, MOST))
