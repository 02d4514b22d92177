"""Finding out that the store has lost what it had confirmed.

Every process leaves a mark in the data about once a second, and knows which mark was confirmed to it. When that is not there any more, the
data are older than they were; the mark that is there says since when. It needs no INFO, which managed services refuse, and no clock: a
restart, a failover, a rewrite of the append-only file or a server's clock that is set back are nothing, as long as the mark is there.
INFO says what has happened, where it is allowed.
"""

from __future__ import annotations

import asyncio

from longrun.chores.mark_file import MarkFile
from longrun.clock import new_identity
from longrun.log import Log
from longrun.service.losses import MEND, sentence
from longrun.store.losses import Kind, Lineage, Loss, Losses, Mark, Marked

log = Log("longrun.store")

EVERY_S = 1.0
#: Milliseconds from a confirmed mark in which the next one was to come: what was written then may be lost too.
_NEXT = 1500
#: Marks after which the server is asked again who it is.
_REFRESH = 30


class LossWatch:
    """The watch of one process.

    Args:
        losses: the store's.
        file: what those who have ended knew; None = there is none, as with a server elsewhere.
    """

    def __init__(self, losses: Losses, file: MarkFile | None = None) -> None:
        self._losses, self._file = losses, file
        self._recalled = file is None
        self._confirmed = Mark(new_identity())
        self._sent = 0
        self._known: Loss | None = None
        self._lineage: Lineage | None = None

    async def look(self) -> None:
        """Leave a mark, and report a loss that shows. Raises StoreUnavailable."""
        if not self._recalled:
            await self._recall()
        confirmed, known = self._confirmed, self._known
        self._sent += 1
        seen = await self._losses.mark(confirmed, self._sent)
        if seen.outcome != "kept":
            await self._report(seen)
            return
        self._confirmed = Mark(confirmed.name, self._sent, seen.at, seen.data)
        self._known = seen.loss
        # What was found before this process began was logged by those who were there.
        if confirmed.number and seen.loss is not None and (known is None or known.at != seen.loss.at):
            _log(seen.loss)
        # After the mark: were it before, a loss that the mark is about to show would seem to have the same server before and after it.
        if self._sent % _REFRESH == 1:
            self._lineage = await self._losses.lineage()
        if self._file is not None:
            await asyncio.to_thread(self._file.write, self._confirmed)

    async def _recall(self) -> None:
        """Compare the data with what was known before this process began."""
        if self._file is not None and (kept := await asyncio.to_thread(self._file.read)) is not None:
            seen = await self._losses.mark(kept, 0)
            # Other data under this address are an operator's work while nothing ran.
            if seen.outcome == "older":
                before = seen.loss if seen.loss is not None and seen.loss.at < kept.at else None
                loss = await self._losses.report("restart", _begin(seen), _end(kept, seen), known=before)
                await asyncio.to_thread(self._file.remove)
                _log(loss)
        self._recalled = True

    async def _report(self, seen: Marked) -> None:
        lineage = await self._losses.lineage()
        kind = kind_of(seen, self._confirmed.at, self._lineage, lineage)
        loss = await self._losses.report(kind, _begin(seen), _end(self._confirmed, seen), known=self._known)
        # Begun anew, and under another name: when the old primary comes back, the marks that it has say nothing about what is written now.
        self._confirmed, self._sent, self._known, self._lineage = Mark(new_identity()), 0, loss, lineage
        _log(loss)


def _begin(seen: Marked) -> int | None:
    """Since when something may be lost: from the latest mark that is there; without one, from the beginning of these data."""
    return (seen.found or seen.born or None) if seen.outcome == "older" else None


def _end(confirmed: Mark, seen: Marked) -> int:
    """Until when something may be lost. Two servers have two clocks: the one that has taken over may be behind."""
    end = confirmed.at + _NEXT
    return min(end, seen.at) if seen.at > confirmed.at else end


def kind_of(seen: Marked, confirmed_at: int, before: Lineage | None, now: Lineage | None) -> Kind:
    """What has happened since the mark of `confirmed_at` (ms), as far as the server says."""
    if seen.outcome == "other":
        return "emptied" if not seen.data or seen.born > confirmed_at else "other"
    if before is None or now is None:
        return "unknown"
    if now.process == before.process:
        return "reload"
    return "failover" if now.before == before.history else "restart"


def _log(loss: Loss) -> None:
    # That the data are others is logged by whoever looks whether jobs may be accepted (`service.admission`).
    if loss.kind not in ("emptied", "other"):
        log.error("the store has lost writes", found=sentence(loss), mend=MEND)
