"""Batches in the store: their records, and how their items become jobs. The inputs themselves lie in the blob store (`longrun.blobs`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from longrun.clock import item_id
from longrun.errors import ValidationFailed
from longrun.jobs.record import JobRecord, typed
from longrun.settings import Settings
from longrun.store.connection import Connection, Cursor, cursor_after, given
from longrun.store.file_records import UNBOUND
from longrun.store.kinds import BATCH

#: Fields of the hash that a read returns, in this order.
FIELDS = (
    "tenant", "model", "priority", "status", "total", "fed", "left", "succeeded", "failed", "canceled", "expired", "canceling",
    "created", "finished", "expires", "tags", "metadata", "policy", "hook",
)  # fmt: skip
_TEXTS = frozenset({"tenant", "model", "status"})
_INTS = frozenset(FIELDS) - _TEXTS - {"tags", "metadata", "policy", "hook"}
#: Items that one script makes, reads or cancels at most.
MOST = 100
#: Seconds after which another process goes on where one has stopped.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What `accept` stores. `policy`, `tags`, `metadata` and `hook` are JSON."""

    id: str
    tenant: str
    model: str
    queue: str
    priority: int
    total: int  #: items
    file: str  #: id of the file that holds the inputs
    key: str  #: of its bytes
    policy: bytes
    idempotency_key: str = ""
    fingerprint: str = ""
    tags: bytes | None = None
    metadata: bytes | None = None
    hook: bytes | None = None


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What the store knows of a batch. Times are milliseconds since the epoch; `bytes` members are JSON."""

    id: str
    tenant: str
    model: str
    priority: int
    status: str  #: open, completed, canceled
    total: int
    fed: int  #: items that have become jobs
    left: int  #: items that have not ended
    created: int
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    expired: int = 0
    canceling: int | None = None  #: when it was asked to stop
    finished: int | None = None
    expires: int | None = None
    tags: bytes | None = None
    metadata: bytes | None = None
    policy: bytes | None = None
    hook: bytes | None = None

    @property
    def terminal(self) -> bool:
        """Whether all items have ended."""
        return self.status != "open"

    @property
    def version(self) -> int:
        """Grows with whatever becomes of the batch: each of its parts only grows."""
        return 1 + self.fed + self.total - self.left + (self.canceling is not None) + self.terminal

    @classmethod
    def from_fields(cls, batch_id: str, values: Sequence[bytes | None]) -> BatchRecord:
        """Build the record from the values of `FIELDS`."""
        return cls(id=batch_id, **typed(FIELDS, values, ints=_INTS, texts=_TEXTS))


@dataclass(frozen=True, slots=True)
class Feeding:
    """Where the feeding of a batch stands."""

    tenant: str
    fed: int
    total: int
    offset: int  #: of the next line in the file `key`
    key: str
    open: bool  #: there may be more to feed


@dataclass(frozen=True, slots=True)
class Line:
    """An item on its way from the file to the store.

    Args:
        input: JSON, or a reference to the file that holds it.
        files: JSON of its files; empty: none.
        size: bytes of its line.
    """

    input: bytes
    files: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Fed:
    """Answer to `feed`.

    Args:
        outcome: `full`: the lane has no room; `moved`: another feeder was faster; `over`: nothing is to be fed any more.
        fed: items that have become jobs, in all.
    """

    outcome: Literal["fed", "full", "moved", "over"]
    fed: int = 0


class Batches:
    """See the module."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._run, self._command, self._prefix = connection.run, connection.command, settings.prefix
        self._max_queued, self._tombstone = settings.max_queued, int(settings.tombstone * 1000)

    async def bind(self, batch_id: str, tenant: str, files: Sequence[str]) -> None:
        """Keep files for a batch that is about to be accepted; if it never is, for an hour.

        Raises:
            ValidationFailed: one is not there, or not any longer.
        """
        for at in range(0, len(files), MOST):
            outcome, *missing = await self._run("bind_batch", batch_id, tenant, int(UNBOUND * 1000), *files[at : at + MOST])
            if outcome == b"nofile":
                finding = {"pointer": "/inputs", "detail": f"There is no file {missing[0].decode()}"}
                raise ValidationFailed("A file that the inputs name was deleted or has expired.", errors=[finding])

    async def accept(self, batch: NewBatch) -> tuple[Literal["new", "replay", "reused", "nofile"], str]:
        """Accept a batch, or find what its idempotency key is bound to: the outcome, and the id of the batch, or whatever has the key.

        `nofile`: the file of its inputs has been removed meanwhile.
        """
        more = given(
            model=batch.model, queue=batch.queue, priority=batch.priority, key=batch.key,
            tags=batch.tags, metadata=batch.metadata, hook=batch.hook,
        )  # fmt: skip
        outcome, *other = await self._run(
            "accept_batch", batch.id, batch.tenant, batch.idempotency_key, batch.fingerprint, batch.file, batch.total,
            int(PATIENCE * 1000), batch.policy, *more,
        )  # fmt: skip
        return outcome.decode(), other[0].decode() if other else batch.id

    async def read(self, batch_id: str, tenant: str) -> BatchRecord:
        """The record.

        Raises:
            BatchNotFound: unknown, or another tenant's.
            BatchGone: expired.
        """
        return BatchRecord.from_fields(batch_id, await self._read(batch_id, tenant, FIELDS))

    async def _read(self, batch_id: str, tenant: str, fields: Sequence[str]) -> Sequence[bytes | None]:
        found: Sequence[bytes | None] = BATCH.found(batch_id, await self._run("read_batch", batch_id, tenant, *fields))[0]
        return found

    async def page(self, tenant: str, *, cursor: Cursor | None, limit: int) -> tuple[list[BatchRecord], Cursor | None]:
        """Up to `limit` (<= 100) batches below `cursor`, newest first, and the cursor of the next ones; None = there are none."""
        looked, score, last, *rows = await self._run("list_batches", tenant, *(cursor or ("", "")), limit, *FIELDS)
        found = [BatchRecord.from_fields(rows[i].decode(), rows[i + 1]) for i in range(0, len(rows), 2)]
        return found, cursor_after(looked, limit, score, last)

    async def items(self, batch_id: str, tenant: str, first: int, limit: int, most_bytes: int) -> list[JobRecord | None]:
        """Up to `limit` (<= 100) items from `first` on that have become jobs; None = gone. `most_bytes`: of outputs, but for the first.

        Raises as `read` does.
        """
        rows = await self._run("batch_items", batch_id, tenant, first, limit, most_bytes)
        if rows:
            BATCH.found(batch_id, rows)
        return [None if row == b"" else JobRecord.from_fields(item_id(batch_id, first + i), row) for i, row in enumerate(rows)]

    async def feeding(self, batch_id: str) -> Feeding:
        """Where its feeding stands. Raises BatchNotFound, BatchGone."""
        names = ("tenant", "fed", "total", "offset", "key", "status", "canceling")
        tenant, fed, total, offset, key, status, canceling = await self._read(batch_id, "", names)
        assert tenant and fed and total and offset and key, "these are there as long as the record"
        goes_on = status == b"open" and canceling is None and int(fed) < int(total)
        return Feeding(tenant.decode(), int(fed), int(total), int(offset), key.decode(), goes_on)

    async def feed(self, batch_id: str, fed: int, lines: Sequence[Line]) -> Fed:
        """Make jobs of the items from `fed` on, as many of `lines` (<= 100) as there is room for."""
        flat = [value for line in lines for value in (line.input, line.files, line.size)]
        outcome, *where = await self._run(
            "feed_batch", batch_id, fed, self._max_queued, self._tombstone, int(PATIENCE * 1000), *flat
        )  # fmt: skip
        return Fed(outcome.decode(), int(where[0]) if where else 0)

    async def cancel(self, batch_id: str, tenant: str) -> bool:
        """Ask a batch to stop; whether it goes on with that (`cancel_items`). Raises as `read` does."""
        (outcome,) = BATCH.found(batch_id, await self._run("cancel_batch", batch_id, tenant, self._tombstone))
        return bool(outcome == b"canceling")

    async def cancel_items(self, batch_id: str) -> int:
        """Cancel the next hundred items of a batch that is to stop; how many are left."""
        return int(await self._run("cancel_items", batch_id, MOST))

    async def due(self) -> list[str]:
        """Batches that somebody must go on with; for a while nobody else gets them."""
        return [found.decode() for found in await self._run("due_batches", MOST, self._tombstone, int(PATIENCE * 1000))]
