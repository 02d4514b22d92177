"""A batch as callers see it."""

from __future__ import annotations

from msgspec import Raw

from longrun import wire
from longrun.clock import rfc3339
from longrun.store.batches import BatchRecord
from longrun.wire.batches import BatchStatus


def status_of(batch: BatchRecord) -> BatchStatus:
    """`accepting` while items become jobs, `running`, `canceling`; then `completed` or `canceled`."""
    if batch.terminal:
        return "completed" if batch.status == "completed" else "canceled"
    if batch.canceling is not None:
        return "canceling"
    return "running" if batch.fed == batch.total else "accepting"


def batch_view(batch: BatchRecord, base: str) -> wire.Batch:
    """A batch as callers see it; `base` is what stands before `/batches` in the URLs."""
    root = f"{base}/batches/{batch.id}"
    return wire.Batch(
        id=batch.id, model=batch.model, status=status_of(batch), terminal=batch.terminal, version=batch.version, priority=batch.priority,
        counts=wire.BatchCounts(batch.total, batch.left, batch.succeeded, batch.failed, batch.canceled, batch.expired),
        progress=round((batch.total - batch.left) / batch.total, 4),
        created_at=rfc3339(batch.created), finished_at=rfc3339(batch.finished), expires_at=rfc3339(batch.expires),
        tags=Raw(batch.tags or b"[]"), metadata=Raw(batch.metadata or b"{}"),
        policy=wire.Policy.stored(batch.policy), webhook=None if batch.hook is None else wire.Webhook.stored(batch.hook),
        urls=wire.BatchUrls(root, f"{root}/results", f"{root}/cancel"),
    )  # fmt: skip
