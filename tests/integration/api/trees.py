"""Jobs that run jobs, made as a worker makes them."""

from __future__ import annotations

from typing import Any

import orjson

from longrun.jobs.fence import Fence, fence_of
from longrun.jobs.policy import Policy
from longrun.store.steps import Call, Child, SignalWait, Terms
from longrun.store.store import Store

MARK = "12ab34cd~main.0~0011"
_PROPERTIES = {"ok": {"type": "boolean"}, "note": {"type": "string"}}
DECISION = {"type": "object", "properties": _PROPERTIES, "required": ["ok"], "additionalProperties": False}


async def running(store: Store, job_id: str) -> Fence:
    """The fence of the job's claim; it is claimed if it is not."""
    attempt, nonce = await store.connection.command("HMGET", f"{store.prefix}job:{job_id}", "attempt", "nonce")
    if nonce is not None:
        return fence_of(int(attempt), nonce.decode())
    claim = await store.claims.claim(job_id, "n", "w1", "cpu")
    assert claim is not None, "the job is not to be had"
    return claim.fence


async def _steps(store: Store, job_id: str, calls: list[Call], need: int) -> list[str]:
    answer = await store.steps.ask(job_id, await running(store, job_id), calls, seen=-1, need=need, terms=Terms())
    assert answer is not None, "the job takes no steps"
    return [each.id for each in answer.results]


async def ask(store: Store, job_id: str, *names: str, ask: Any = None, schema: Any = DECISION, seconds: float = 60.0) -> None:
    """The job asks under these names, and waits."""
    asked, wanted = orjson.dumps(ask), orjson.dumps(schema)
    await _steps(store, job_id, [SignalWait(f"s:{name}", MARK, name, seconds, asked, wanted) for name in names], 1)


async def child(store: Store, of: str, key: str) -> str:
    """A child of a job, queued; its id."""
    (job_id,) = await _steps(store, of, [Child(key, MARK, "echo", "default", b"{}", Policy().to_json())], 0)
    return job_id


async def local(store: Store, job_id: str, *keys: str) -> None:
    """What the job has done itself."""
    fence = await running(store, job_id)
    for at in range(0, len(keys), 100):
        entries = [(key, f"d {MARK} 1".encode()) for key in keys[at : at + 100]]
        assert await store.steps.journal(job_id, fence, entries) is not None


async def mark_as(store: Store, job_id: str, **fields: Any) -> None:
    """Fields of a job's record."""
    flat = [text for pair in fields.items() for text in pair]
    await store.connection.command("HSET", f"{store.prefix}job:{job_id}", *flat)
