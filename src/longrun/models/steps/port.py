"""What a parent's code needs from its surroundings to run steps.

The runner has one for async and one for sync models, `local` has those of a bare `Job()`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from longrun.jobs.file_refs import FileRef
from longrun.models.file_schema import Attached
from longrun.models.file_types import File
from longrun.models.steps.awaits import Await
from longrun.models.steps.flow import Flow

T = TypeVar("T")


class Port(Protocol):
    """Drives the `Flow` of one run, in the place where the author's code runs.

    All of it is called on the loop (async) or on the thread (sync) of the author's code. Its coroutines never suspend in a sync port: they
    block, so that `coroutine.send(None)` runs them through.
    """

    is_async: bool
    #: Opens the files that steps have made; their refs have an id, a size and a digest, but no `key`: ask the worker (`files`) for that.
    attached: Attached

    @property
    def flow(self) -> Flow:
        """The state of its steps. Raises LongrunError: steps do not work where this is asked."""

    async def wait(self, waiting: Await) -> None:
        """Return when `waiting.done`; raise nothing of its own (`waiting.check()` raises what stops the code, and is called by the caller).

        Async: make a future, set `waiting.on_done` to what resolves it (called on the loop, by `Flow.turn`, `feed` or `stop`), see to it
        that `flow.turn` is called soon, and await it. When the await is canceled by the author's own code (the run is neither to stop
        nor to be let go), call `flow.abandon(waiting)` and pass the CancelledError on.

        Sync: send the frames of `flow.turn(idle=True)`, then, while it is not done, block for the next frame of the worker and `feed` it.
        """

    async def aside(self, work: Callable[[], T]) -> T:
        """Run `work`, which reads or stores files and may take long: async in a thread with a copy of the context, sync here."""

    def store(self, file: File) -> FileRef:
        """Store a file in the name of the job; blocking, called inside `aside` alone. What it returns has all members."""

    def store_output(self, data: bytes) -> bytes:
        """Store the result of a local step that is over `INLINE`: what the journal holds in its place (`@…`). Inside `aside` alone."""
