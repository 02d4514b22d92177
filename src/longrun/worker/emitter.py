"""Events of running jobs on their way to the store: the first at once, then in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from longrun.errors import LongrunError
from longrun.store.store import Store
from longrun.worker.run import Run

#: Shortest time between two writes for one job.
_PAUSE = 0.02
#: Most events of one write.
_MOST = 500


class Emitter:
    """Writes events, fenced by attempt.

    Args:
        store: where to.
        lost: called with a run that turned out not to be ours any more.
    """

    def __init__(self, store: Store, lost: Callable[[Run], None]) -> None:
        self._store, self._lost = store, lost

    def add(self, run: Run, events: Sequence[tuple[str, bytes]], spawn: Callable[[Awaitable[Any]], Any]) -> None:
        """Take events from the runner."""
        for kind, data in events:
            run.events.append((kind, data))
            if kind == "progress":
                run.progress = data
        if not run.flushing:
            run.flushing = True
            spawn(self._flush_often(run))

    async def _flush_often(self, run: Run) -> None:
        try:
            while run.events and not run.settled:
                await self._write(run)
                await asyncio.sleep(_PAUSE)
        finally:
            run.flushing = False

    async def _write(self, run: Run) -> None:
        events, run.events = run.events[:_MOST], run.events[_MOST:]
        first, progress = run.appended, run.progress
        run.appended, run.progress = first + len(events), b""
        try:
            ours = await self._store.claims.append(run.id, run.attempt, first, progress, events)
        except LongrunError:
            # Kept for the next try: the store skips what it has by the number of the first.
            run.events[:0] = events
            run.appended, run.progress = first, run.progress or progress
            raise
        if not ours:
            self._lost(run)

    async def flush(self, run: Run) -> None:
        """Write what is left; the caller writes the outcome after this. Writes under way went out before on the same connection."""
        while run.events:
            await self._write(run)
