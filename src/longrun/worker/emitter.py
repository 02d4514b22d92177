"""Events of running jobs on their way to the store: the first at once, then in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from longrun.errors import LongrunError, StorageFull
from longrun.store.store import Store
from longrun.worker.run import Run

#: Shortest time between two writes for one job.
_PAUSE = 0.02
#: Most events of one write, and bytes of their data.
_MOST, _LARGE = 500, 1 << 20
#: Most events of one job that wait for the store, and bytes of their data: more than that of lines is not kept.
_WAITING, _WAITING_BYTES = 20_000, 4 << 20
#: Seconds between two looks whether a write has come back.
_LOOK = 0.002
#: Pause when the store is full.
_FULL_PAUSE = 1.0


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
            _keep(run, kind, data)
        if run.events and not run.flushing:
            run.flushing = True
            spawn(self._flush_often(run))

    async def _flush_often(self, run: Run) -> None:
        try:
            while run.events and not run.settled:
                try:
                    await self._write(run)
                except StorageFull:
                    await asyncio.sleep(_FULL_PAUSE)
                await asyncio.sleep(_PAUSE)
        finally:
            run.flushing = False

    async def _write(self, run: Run) -> None:
        if run.left_out and len(run.events) < _WAITING / 2:
            _tell_left_out(run)
        events = _next(run)
        first, progress = run.appended, run.progress
        run.appended, run.progress = first + len(events), b""
        run.writing += 1
        try:
            ours = await self._store.claims.append(run.id, run.attempt, first, progress, events)
        except LongrunError:
            # Kept for the next try: the store skips what it has by the number of the first, so these must stay what they are.
            run.events.extendleft(reversed(events))
            run.waiting += sum(len(data) for _, data in events)
            run.offered = max(run.offered, len(events))
            run.appended, run.progress = first, run.progress or progress
            raise
        finally:
            run.writing -= 1
        if run.files:
            run.files -= sum(1 for kind, _ in events if kind == "file")
        if not ours:
            self._lost(run)

    @staticmethod
    def is_done_with(run: Run) -> bool:
        """Whether `flush` has nothing to do."""
        return not (run.events or run.left_out or (run.files and run.writing))

    async def flush(self, run: Run) -> None:
        """Write what is left; the caller writes the outcome after this. Writes under way went out before on the same connection.

        What tells of files is waited for: a store that is full may refuse it, and take the outcome that names the files.
        """
        _tell_left_out(run)
        while run.events or (run.files and run.writing):
            if run.files and run.writing:
                await asyncio.sleep(_LOOK)
            else:
                await self._write(run)


def _keep(run: Run, kind: str, data: bytes) -> None:
    """Add an event to those that wait: of progress in a row the last one counts, and what the model yields is never left out."""
    if kind == "usage":
        run.usage = data
        return
    if kind == "progress":
        run.progress = data
        if len(run.events) > run.offered and run.events[-1][0] == "progress":
            run.waiting += len(data) - len(run.events[-1][1])
            run.events[-1] = (kind, data)
            return
    if kind == "file":
        run.files += 1
    if kind == "log" and (len(run.events) >= _WAITING or run.waiting >= _WAITING_BYTES):
        run.left_out += 1
        return
    _append(run, kind, data)


def _append(run: Run, kind: str, data: bytes) -> None:
    run.events.append((kind, data))
    run.waiting += len(data)


def _next(run: Run) -> list[tuple[str, bytes]]:
    events: list[tuple[str, bytes]] = []
    size = 0
    while run.events and len(events) < _MOST and size < _LARGE:
        events.append(run.events.popleft())
        size += len(events[-1][1])
    run.waiting -= size
    run.offered = max(0, run.offered - len(events))
    return events


def _tell_left_out(run: Run) -> None:
    if run.left_out:
        count, run.left_out = run.left_out, 0
        message = f"{count:,} {'line' if count == 1 else 'lines'} left out: the store did not take them in time"
        _append(run, "log", orjson.dumps({"level": "warning", "message": message}))
