"""Events of running jobs on their way to the store: the first at once, then in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from longrun.errors import LongrunError, StorageFull
from longrun.store.claims import Claims
from longrun.worker.run import Run
from longrun.worker.tables import Spawn

#: Shortest time between two writes for one job.
_PAUSE = 0.02
#: Seconds between two looks whether a write has come back.
_LOOK = 0.002
#: Pause when the store is full.
_FULL_PAUSE = 1.0


@dataclass(slots=True)
class Emitter:
    """Writes events, fenced by their claim."""

    claims: Claims
    spawn: Spawn
    lost: Callable[[Run], None]  #: called with a run that turned out not to be ours any more

    def add(self, run: Run, events: Sequence[tuple[str, bytes]]) -> None:
        """Take events from the runner."""
        for kind, data in events:
            run.backlog.add(kind, data)
        if run.backlog.events and not run.flushing:
            run.flushing = True
            self.spawn(self._flush_often(run))

    async def _flush_often(self, run: Run) -> None:
        try:
            while run.backlog.events and not run.settled:
                try:
                    await self._write(run)
                except StorageFull:
                    await asyncio.sleep(_FULL_PAUSE)
                await asyncio.sleep(_PAUSE)
        finally:
            run.flushing = False

    async def _write(self, run: Run) -> None:
        first, progress, events = run.backlog.take()
        run.writing += 1
        try:
            ours = await self.claims.append(run.id, run.fence, first, progress, events)
        except LongrunError:
            run.backlog.put_back(first, progress, events)
            raise
        finally:
            run.writing -= 1
        if run.backlog.files:
            run.backlog.files -= sum(1 for kind, _ in events if kind == "file")
        if not ours:
            self.lost(run)

    @staticmethod
    def is_done_with(run: Run) -> bool:
        """Whether `flush` has nothing to do."""
        return not (run.backlog.events or run.backlog.left_out or (run.backlog.files and run.writing))

    async def flush(self, run: Run) -> None:
        """Write what is left; the caller writes the outcome after this. Writes under way went out before on the same connection.

        Events of files are waited for: a store that is full may refuse them, and take the outcome that names the files.
        """
        run.backlog.say_left_out()
        while run.backlog.events or (run.backlog.files and run.writing):
            if run.backlog.files and run.writing:
                await asyncio.sleep(_LOOK)
            else:
                await self._write(run)
