"""Claims are renewed, and commands from the store arrive."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from longrun.errors import StoreUnavailable

if TYPE_CHECKING:
    from longrun.worker.engine import Engine

log = structlog.get_logger("longrun.worker")
_LOST, _CANCEL = 0, 2
_MOST = 100
#: A canceled job that is not here is looked for so often, at this distance in seconds.
_LOOKS, _LOOK = 50, 0.02


class Leases:
    """See the module."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def beat_for_ever(self) -> None:
        """Renew all claims every `heartbeat` seconds."""
        pause = self._engine.settings.heartbeat
        while True:
            begin = time.monotonic()
            await self.beat()
            await asyncio.sleep(max(0.05, pause - (time.monotonic() - begin)))

    async def beat(self) -> None:
        """Renew all claims once. A store that does not answer is no reason to stop runs: the fence decides when it is back."""
        engine = self._engine
        held = [(run.id, run.attempt) for _, run in engine.runs.values()]
        for i in range(0, len(held), _MOST):
            piece = held[i : i + _MOST]
            try:
                answers = await engine.store.claims.heartbeat(piece, timeout=engine.settings.lease)
            except StoreUnavailable:
                log.warning("heartbeat not answered", jobs=len(piece))
                return
            for (job_id, attempt), answer in zip(piece, answers, strict=True):
                _, run = engine.runs.get(job_id, (None, None))
                if run is None or run.attempt != attempt or run.settled:
                    continue
                if answer == _LOST:
                    log.warning("lease lost", job_id=job_id, attempt=attempt)
                    engine.lost(run)
                elif answer == _CANCEL:
                    engine.limits.request_stop(run, "canceled")

    async def listen_for_ever(self) -> None:
        """Obey `cancel <id>` as it is announced; the heartbeat is the fallback."""
        engine = self._engine
        async with engine.store.follower.listen(engine.store.worker_channel(engine.plan.name)) as listener:
            while True:
                for message in await listener.wait(60.0):
                    verb, _, job_id = message.decode().partition(" ")
                    if verb == "cancel":
                        self._cancel(job_id)

    def _cancel(self, job_id: str) -> None:
        engine = self._engine
        if job_id in engine.runs:
            engine.limits.request_stop(engine.runs[job_id][1], "canceled")
        else:
            engine.spawn(self._cancel_when_here(job_id))

    async def _cancel_when_here(self, job_id: str) -> None:
        """The order may overtake the answer to the claim, which comes on another connection. Most often the job has just ended."""
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK)
            if job_id in self._engine.runs:
                self._engine.limits.request_stop(self._engine.runs[job_id][1], "canceled")
                return
