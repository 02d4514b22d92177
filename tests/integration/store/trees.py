"""Trees of jobs for tests: parents that are claimed, and children that they have asked for."""

from __future__ import annotations

from typing import Any

from tests.integration.store.test_scripts import submit

from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.store.claims import Claim, Outcome
from longrun.store.store import Store

MARK = "12ab34cd~main.0/Draw.0~00112233445566778899aabb"


async def claim(store: Store, job_id: str) -> Claim:
    found = await store.claims.claim(job_id, f"n-{new_job_id()}", "w", "cpu")
    assert found is not None
    return found


async def parent(store: Store, policy: Policy | None = None, **given: Any) -> Claim:
    """A job that a worker runs."""
    return await claim(store, await submit(store, policy, **given))


async def entry(store: Store, job_id: str, key: str, value: str) -> None:
    """An entry of its journal."""
    await store.connection.command("HSET", f"{store.prefix}steps:{job_id}", key, value)
    await store.connection.command("HSET", f"{store.prefix}job:{job_id}", "flow", 1)


async def child(
    store: Store, of: str, key: str, *, stream: bool = False, policy: Policy | None = None, at: int = 1, mark: str = MARK
) -> str:
    """A child that its parent has asked for, and that is queued."""
    run = store.connection.command
    job_id = await submit(store, policy)
    root, depth, epoch = await run("HMGET", f"{store.prefix}job:{of}", "root", "depth", "epoch")
    fields = ["flow", 1, "expires", "tree", "parent", of, "root", root or of, "step", key, "depth", int(depth or 0) + 1] + (
        ["stream", "1"] if stream else []
    )
    await run("HSET", f"{store.prefix}job:{job_id}", *fields)
    await run("ZREM", f"{store.prefix}idx:t", job_id)
    await run("HINCRBY", f"{store.prefix}job:{of}", "kids", 1)
    await entry(store, of, key, f"c {job_id} {int(epoch or 0)} {at} {mark}")
    return job_id


async def end(store: Store, job_id: str, outcome: Outcome = "succeeded", data: bytes = b'"x"', held: Claim | None = None) -> None:
    """Run it, or end the run that is held."""
    held = held or await claim(store, job_id)
    assert await store.claims.finish(job_id, held.fence, outcome, data) == outcome
    of = await field(store, job_id, "parent")
    if of is not None:
        await store.connection.command("HSET", f"{store.prefix}job:{job_id}", "expires", "tree")
        await store.connection.command("ZREM", f"{store.prefix}dead:t", job_id)
        await store.connection.command("RPUSH", f"{store.prefix}ends:{of.decode()}", (await field(store, job_id, "step") or b"").decode())


async def field(store: Store, job_id: str, name: str) -> bytes | None:
    value: bytes | None = await store.connection.command("HGET", f"{store.prefix}job:{job_id}", name)
    return value


async def bury_all(store: Store) -> int:
    """As the chore does it; how many calls."""
    calls = 0
    while await store.upkeep.bury():
        calls += 1
    return calls


async def pass_time(store: Store, job_id: str) -> None:
    """The time for which an ended job is kept is over."""
    await store.connection.command("HSET", f"{store.prefix}job:{job_id}", "expires", 1)
    await store.connection.command("ZADD", f"{store.prefix}expire", 1, job_id)
