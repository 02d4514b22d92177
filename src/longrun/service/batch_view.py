"""A batch as callers see it."""

from __future__ import annotations

from typing import Any

import orjson

from longrun.clock import rfc3339
from longrun.jobs.policy import Policy
from longrun.store.batches import BatchRecord

#: What a batch may be; the last two are ends.
STATUSES = ("accepting", "running", "canceling", "completed", "canceled")


def status_of(batch: BatchRecord) -> str:
    """`accepting` while items become jobs, `running`, `canceling`; then `completed` or `canceled`."""
    if batch.terminal:
        return batch.status
    if batch.canceling is not None:
        return "canceling"
    return "running" if batch.fed == batch.total else "accepting"


def batch_view(batch: BatchRecord, base: str) -> dict[str, Any]:
    """The JSON body of a batch, ready for `orjson.dumps`; `base` is what stands before `/batches` in the URLs."""
    root = f"{base}/batches/{batch.id}"
    hook = None if batch.hook is None else orjson.loads(batch.hook)
    ended = {name: getattr(batch, name) for name in ("succeeded", "failed", "canceled", "expired")}
    return {
        "id": batch.id,
        "model": batch.model,
        "status": status_of(batch),
        "terminal": batch.terminal,
        "version": batch.version,
        "priority": batch.priority,
        "counts": {"total": batch.total, "pending": batch.left, **ended},
        "progress": round((batch.total - batch.left) / batch.total, 4),
        "created_at": rfc3339(batch.created),
        "finished_at": rfc3339(batch.finished),
        "expires_at": rfc3339(batch.expires),
        "tags": orjson.Fragment(batch.tags or b"[]"),
        "metadata": orjson.Fragment(batch.metadata or b"{}"),
        "policy": (Policy.from_json(batch.policy) if batch.policy else Policy()).public(),
        "webhook": None if hook is None else {"url": hook["url"], "events": hook["events"]},
        "urls": {"self": root, "results": f"{root}/results", "cancel": f"{root}/cancel"},
    }
