"""Whether the blob store can be used, as /readyz shows it."""

from __future__ import annotations

import asyncio
import time

from longrun.blobs.contract import Blobs
from longrun.errors import BlobsFull, BlobsUnavailable

EVERY_S = 10.0
PATIENCE_S = 2.0


class StorageHealth:
    """Looks at a blob store now and then, however often it is asked.

    Args:
        blobs: the blob store.
        every: seconds that an answer holds.
        patience: seconds that a caller waits for a look at most.
    """

    def __init__(self, blobs: Blobs, *, every: float = EVERY_S, patience: float = PATIENCE_S) -> None:
        self._blobs, self._every, self._patience = blobs, every, patience
        self._look: asyncio.Task[str] | None = None
        self._begun = self._ended = 0.0

    async def checks(self) -> dict[str, str]:
        """`{"files": "ok"}`, or `full: …` or `unavailable: …` and why."""
        now = time.monotonic()
        if self._look is None or (self._look.done() and now >= self._ended + self._every):
            self._look, self._begun = asyncio.get_running_loop().create_task(self._check()), now
        look = self._look
        await asyncio.wait({look}, timeout=max(0.0, self._begun + self._patience - now))
        return {"files": look.result() if look.done() else f"unavailable: it does not answer within {self._patience:g} s"}

    def close(self) -> None:
        """End a look that is under way."""
        if self._look is not None:
            self._look.cancel()

    async def _check(self) -> str:
        try:
            await self._blobs.check()
        except BlobsFull as error:
            return f"full: {error}"
        except BlobsUnavailable as error:
            return f"unavailable: {error}"
        except Exception as error:
            return f"unavailable: {type(error).__name__}"
        finally:
            self._ended = time.monotonic()
        return "ok"
