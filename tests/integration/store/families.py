"""Parents and their steps, as a worker would have the store make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.integration.store.test_scripts import FAILURE, new_job

from longrun.jobs.fence import Fence
from longrun.jobs.policy import Policy
from longrun.store.claims import Claim
from longrun.store.steps import Answer, Call, Child, Refused, Result, SignalWait, StillStops, Terms
from longrun.store.store import Store

POLICY = Policy().to_json()


def child(key: str, **given: Any) -> Child:
    """A step that is a job of the model `leaf`, in the lane `gpu.leaf`."""
    members: dict[str, Any] = {"key": key, "mark": "c~p~d", "model": "leaf", "queue": "gpu", "input": b'{"x":1}', "policy": POLICY}
    return Child(**members | given)


class Parent:
    """A claimed job that asks for steps."""

    def __init__(self, store: Store, claim: Claim) -> None:
        self.store, self.claim, self.id, self.fence = store, claim, claim.id, claim.fence

    async def ask(self, *calls: Call | str, seen: int = -1, need: int = 0, terms: Terms | None = None) -> Answer | None:
        """Ask for these; a text is the key of a child."""
        asked = [child(call) if isinstance(call, str) else call for call in calls]
        return await self.store.steps.ask(self.id, self.fence, asked, seen=seen, need=need, terms=terms or Terms())

    async def made(self, *calls: Call | str, **given: Any) -> list[Result]:
        """Ask for these; what is known of them."""
        answer = await self.ask(*calls, **given)
        assert answer is not None
        return answer.results

    async def refusal(self, *calls: Call | str, terms: Terms | None = None) -> tuple[str, str]:
        """Code and text with which these are refused; empty when they are not."""
        try:
            await self.ask(*calls, terms=terms)
        except Refused as refused:
            return refused.code, refused.detail
        return "", ""

    async def still_stops(self, *calls: Call | str) -> bool:
        """Whether one of these is to end first."""
        try:
            await self.ask(*calls)
        except StillStops:
            return True
        return False

    async def let_go(self, ran: int = 0, usage: bytes = b"") -> str | None:
        """Hold it no longer."""
        (after,) = await self.store.steps.let_go([(self.id, self.fence, ran, usage)])
        return after

    async def finish(self, outcome: Any = "succeeded", data: bytes = b'"done"', usage: bytes = b"") -> str | None:
        """End it."""
        return await self.store.claims.finish(self.id, self.fence, outcome, data if outcome == "succeeded" else FAILURE, usage)

    async def field(self, name: str) -> str | None:
        """A field of its record."""
        return await field(self.store, self.id, name)

    async def events(self, kind: str) -> list[dict[str, Any]]:
        """Data of its events of one type."""
        page = await self.store.records.events(self.id, "t", 0, 1000)
        return [event.data for event in page.events if event.type == kind]


async def field(store: Store, job_id: str, name: str) -> str | None:
    """A field of a record, as it is stored."""
    value: bytes | None = await store.connection.command("HGET", f"{store.prefix}job:{job_id}", name)
    return None if value is None else value.decode()


async def claim(store: Store, job_id: str, worker: str = "w") -> Parent:
    """Claim a job that is queued."""
    attempt = int(await field(store, job_id, "attempt") or 0) + 1
    got = await store.claims.claim(job_id, f"{worker}-{attempt}", worker, "cpu")
    assert got is not None, job_id
    return Parent(store, got)


async def parent(store: Store, policy: Policy | None = None, **given: Any) -> Parent:
    """A root of the model `flow` that runs."""
    job = new_job(policy, **{"model": "flow"} | given)
    assert (await store.records.submit(job)).outcome == "new"
    return await claim(store, job.id)


async def run(store: Store, *job_ids: str, outcome: Any = "succeeded", data: bytes = b"7", usage: bytes = b"") -> None:
    """Claim and end children."""
    for job_id in job_ids:
        assert await (await claim(store, job_id, "other")).finish(outcome, data, usage) == outcome


async def reaped(store: Store) -> int:
    """Let the chore do all there is to do; how many calls it took."""
    calls = 0
    while await store.steps.reap():
        calls += 1
    return calls


def ids(results: Sequence[Result]) -> list[str]:
    """Of children."""
    return [result.id for result in results]


def fence(attempt: int, worker: str = "w") -> Fence:
    """That of an attempt which `claim` has begun."""
    return Fence(f"{attempt}/{worker}-{attempt}")


def wait(name: str, seconds: float = 100) -> SignalWait:
    return SignalWait(f"s:{name}", "m", name, seconds, b'{"draft":1}', b'{"type":"object"}')


async def signal(store: Store, of: Parent, name: str, value: bytes) -> None:
    """What an early signal leaves; one that ends an open wait is the business of signal.lua."""
    await store.connection.command("HSET", f"{store.prefix}steps:{of.id}", f"v:{name}", value)


def states(results: Sequence[object]) -> list[str]:
    return [getattr(result, "state") for result in results]  # noqa: B009
