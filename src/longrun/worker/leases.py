"""Claims are renewed, and commands from the store arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from longrun.errors import StoreUnavailable
from longrun.log import Log
from longrun.store.claims import Claims
from longrun.store.follow import Follower
from longrun.worker.run import Run
from longrun.worker.stopping import StopReason
from longrun.worker.tables import Spawn, Tables

log = Log("longrun.worker")
_LOST, _CANCEL, _WAKE = 0, 2, 3
_WHY_LOST = "another attempt has the job, or it has ended, or the store has lost this claim"
_MOST = 100
#: A canceled job that is not here is looked for so often, at this distance in seconds.
_LOOKS, _LOOK = 50, 0.02


@dataclass(slots=True)
class Leases:
    """See the module."""

    tables: Tables
    claims: Claims
    lease: float  #: seconds that a claim holds
    stop: Callable[[Run, StopReason], None]  #: called with a run that must stop, and why
    spawn: Spawn
    wake: Callable[[Run], None]  #: called with a run whose wait for steps is over

    def hold(self, run: Run) -> bool:
        """Take up a run whose job was claimed just now. False: its claim is here already, for its ticket came twice.

        An earlier claim of the job that still runs here has lost it: its lease ran out, or the store has forgotten it.
        """
        earlier = self.tables.runs.setdefault(run.id, run)
        if earlier is run:
            return True
        if earlier.fence == run.fence:
            return False
        self._has_lost(earlier)
        self.tables.runs[run.id] = run
        return True

    def _has_lost(self, run: Run) -> None:
        self.stop(run, "lost")
        log.warning("lease lost", job_id=run.id, attempt=run.attempt, fence=run.fence, why=_WHY_LOST)

    async def beat_for_ever(self, pause: float) -> None:
        """Renew all claims every `pause` seconds."""
        while True:
            begin = time.monotonic()
            await self.beat()
            await asyncio.sleep(max(0.05, pause - (time.monotonic() - begin)))

    async def beat(self) -> None:
        """Renew all claims once. A store that does not answer is no reason to stop runs: the fence decides when it is back."""
        held = list(self.tables.runs.values())
        for i in range(0, len(held), _MOST):
            piece = held[i : i + _MOST]
            try:
                answers = await self.claims.heartbeat([(run.id, run.fence) for run in piece], timeout=self.lease)
            except StoreUnavailable:
                log.warning("heartbeat not answered", jobs=len(piece))
                return
            for run, answer in zip(piece, answers, strict=True):
                if self.tables.runs.get(run.id) is not run or run.settled:
                    continue
                if answer == _LOST:
                    self._has_lost(run)
                elif answer == _CANCEL:
                    self.stop(run, "canceled")
                elif answer == _WAKE:
                    self.wake(run)

    async def listen_for_ever(self, follower: Follower, channel: str) -> None:
        """Obey `cancel <id>`, and `step <id>` for a run whose wait is over, as they are announced; the heartbeat is the fallback."""
        async with follower.listen(channel) as listener:
            while True:
                for message in await listener.wait(60.0):
                    verb, _, job_id = message.decode().partition(" ")
                    if verb == "cancel":
                        self.cancel(job_id)
                    elif verb == "step" and (run := self.tables.runs.get(job_id)) is not None:
                        self.wake(run)

    def cancel(self, job_id: str) -> None:
        """Stop a job, if it is here or comes within a second: this order may overtake the answer to the claim, on another connection."""
        if job_id in self.tables.runs:
            self.stop(self.tables.runs[job_id], "canceled")
        else:
            self.spawn(self._cancel_when_here(job_id))

    async def _cancel_when_here(self, job_id: str) -> None:
        # Most often the job has just ended.
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK)
            if job_id in self.tables.runs:
                self.stop(self.tables.runs[job_id], "canceled")
                return
