"""Jobs that run jobs, as the scripts of a worker leave them in the store."""

from __future__ import annotations

import time
from typing import Any

import orjson

from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.store.records import NewJob
from longrun.store.store import Store

MARK = "12ab34cd~main.0~0011"
_PROPERTIES = {"ok": {"type": "boolean"}, "note": {"type": "string"}}
DECISION = {"type": "object", "properties": _PROPERTIES, "required": ["ok"], "additionalProperties": False}


async def write(store: Store, job_id: str, key: str, value: str) -> None:
    """An entry of a job's journal."""
    await store.connection.command("HSET", f"{store.prefix}steps:{job_id}", key, value)
    await store.connection.command("HSET", f"{store.prefix}job:{job_id}", "flow", 1)


async def mark_as(store: Store, job_id: str, **fields: Any) -> None:
    """Fields of a job's record."""
    flat = [text for pair in fields.items() for text in pair]
    await store.connection.command("HSET", f"{store.prefix}job:{job_id}", *flat)


async def ask(store: Store, job_id: str, *names: str, ask: Any = None, schema: Any = DECISION, seconds: float = 60.0) -> int:
    """The job waits for answers. Gives when it waits no longer, in ms."""
    due = int((time.time() + seconds) * 1000)
    for name in names:
        asked = orjson.dumps({"ask": ask, "schema": schema}).decode()
        await write(store, job_id, f"s:{name}", f"w {due} {due - 1000} {MARK} {asked}")
    await mark_as(store, job_id, asks=" ".join(names), status="waiting")
    return due


async def child(store: Store, of: str, key: str, at: int = 1, tenant: str = "default", **fields: Any) -> str:
    """A child of a job, queued."""
    job_id, record = new_job_id(), f"{store.prefix}job:{of}"
    await store.records.submit(NewJob(job_id, tenant, "echo", "default", 5, b"{}", Policy().to_json()))
    root = await store.connection.command("HGET", record, "root")
    await mark_as(store, job_id, flow=1, expires="tree", parent=of, root=root or of, step=key, depth=1, **fields)
    await store.connection.command("ZREM", f"{store.prefix}idx:{tenant}", job_id)
    await store.connection.command("HINCRBY", record, "kids", 1)
    await write(store, of, key, f"c {job_id} 0 {at} {MARK}")
    return job_id
