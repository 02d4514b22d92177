"""Trees of jobs for tests: parents that are claimed, and what they ask for."""

from __future__ import annotations

from typing import Any

from tests.integration.store.test_scripts import submit

from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.store.claims import Claim, Outcome
from longrun.store.steps import Call, Child, Result, SignalWait, StillStops, Terms
from longrun.store.store import Store

MARK = "12ab34cd~main.0/Draw.0~00112233445566778899aabb"


async def claim(store: Store, job_id: str) -> Claim:
    found = await store.claims.claim(job_id, f"n-{new_job_id()}", "w", "cpu")
    assert found is not None
    return found


async def parent(store: Store, policy: Policy | None = None, **given: Any) -> Claim:
    """A job that a worker runs."""
    return await claim(store, await submit(store, policy, **given))


async def ask(store: Store, of: Claim, *calls: Call, need: int = 0, tree: int = 10_000) -> list[Result]:
    """What the store says of steps that a parent asks for."""
    answer = await store.steps.ask(of.id, of.fence, calls, seen=-1, need=need, terms=Terms(tree=tree))
    assert answer is not None
    return answer.results


async def still_stops(store: Store, of: Claim, *calls: Call) -> bool:
    """Whether one of these steps is to end before it is made anew."""
    try:
        await ask(store, of, *calls)
    except StillStops:
        return True
    return False


def call(key: str, *, stream: bool = False, policy: Policy | None = None, mark: str = MARK) -> Child:
    return Child(key, mark, "m", "gpu", b'{"x":1}', (policy or Policy()).to_json(), stream=stream)


async def child(store: Store, of: Claim, key: str, **given: Any) -> str:
    """A child that a parent asks for; queued."""
    (result,) = await ask(store, of, call(key, **given))
    return result.id


async def wait(store: Store, of: Claim, name: str, seconds: float = 3600) -> Result:
    """A parent asks people for something."""
    return (await ask(store, of, SignalWait(f"s:{name}", MARK, name, seconds, b'{"draft":[]}', b'{"type":"object"}')))[0]


async def end(store: Store, job_id: str, outcome: Outcome = "succeeded", data: bytes = b'"x"', held: Claim | None = None) -> None:
    """Run it, or end the run that is held."""
    held = held or await claim(store, job_id)
    assert await store.claims.finish(job_id, held.fence, outcome, data) == outcome


async def entry(store: Store, job_id: str, key: str, value: str) -> None:
    """An entry of its journal."""
    await store.connection.command("HSET", f"{store.prefix}steps:{job_id}", key, value)
    await store.connection.command("HSET", f"{store.prefix}job:{job_id}", "flow", 1)


async def field(store: Store, job_id: str, name: str) -> bytes | None:
    value: bytes | None = await store.connection.command("HGET", f"{store.prefix}job:{job_id}", name)
    return value


async def ends(store: Store, job_id: str) -> list[bytes]:
    """Keys of the steps that have ended."""
    return list(await store.connection.command("LRANGE", f"{store.prefix}ends:{job_id}", 0, -1))


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
