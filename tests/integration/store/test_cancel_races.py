"""Cancel in every state, and against everything that a worker may write at the same moment: one winner, and everybody is told the same."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import orjson
import pytest

from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.jobs.record import JobRecord
from longrun.jobs.states import TERMINAL, Status
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.records import NewJob
from longrun.store.store import Store

FAILURE = b'{"code":"model-error","detail":"it broke","attempt":1}'
RACES = 1000


async def submit(store: Store, policy: Policy | None = None, **given: Any) -> str:
    job = NewJob(new_job_id(), "t", "m", "default", 5, b"{}", (policy or Policy(max_attempts=3)).to_json(), **given)
    await store.records.submit(job)
    return job.id


async def claimed(store: Store, policy: Policy | None = None) -> str:
    job_id = await submit(store, policy)
    assert await store.claims.claim(job_id, "n", "w", "cpu") is not None
    return job_id


async def ended(store: Store, job_id: str) -> JobRecord:
    """The job, which has ended; what is told of it in other places agrees."""
    job = await store.records.read(job_id, "t")
    assert job.terminal
    events = (await store.records.events(job_id, "t", 0, 100)).events
    assert [event.type for event in events].count("done") == 1
    assert events[-1].type == "done"
    assert (job.output is None) == (job.status is not Status.SUCCEEDED)
    assert (job.error is None) == (job.status is Status.SUCCEEDED)
    if job.attempt:
        last = (await store.records.attempts(job_id, "t"))[-1]
        # An attempt that was over before, and was to be followed by another, stays what it was.
        assert last.outcome in (job.status.value, "retrying", "released", "crashed")
    return job


@pytest.fixture
async def other(settings: Settings) -> Any:
    """A second process's connection to the same store."""
    store = Store(settings.redis_url, settings, ticket_template())
    yield store
    await store.close()


async def test_a_thousand_races_of_cancel_against_completion_have_one_winner_each(store: Store, other: Store) -> None:
    """Each race: a worker finishes the job while two callers cancel it. The job ends as what the store told the worker it ended as."""
    rng = random.Random(28)
    winners: Counter[tuple[str, str]] = Counter()

    async def race() -> None:
        job_id = await claimed(store)
        outcome = rng.choice(["succeeded", "failed"])
        data = b'"output"' if outcome == "succeeded" else FAILURE

        async def finish() -> str | None:
            await asyncio.sleep(rng.random() * 0.004)
            return await other.claims.finish(job_id, "1/n", outcome, data)  # type: ignore[arg-type]

        async def cancel() -> Status:
            await asyncio.sleep(rng.random() * 0.004)
            return await store.records.cancel(job_id, "t")

        told, *answers = await asyncio.gather(finish(), cancel(), cancel())
        job = await ended(store, job_id)
        assert job.status.value == told
        assert all(answer in (Status.CANCELING, job.status) for answer in answers)
        events = (await store.records.events(job_id, "t", 0, 100)).events
        asked = "canceling" in [event.type for event in events]
        assert [event.type for event in events].count("canceling") <= 1
        # A success counts whenever it comes; an error counts unless somebody had asked before.
        assert job.status.value == ("succeeded" if outcome == "succeeded" else "canceled" if asked else "failed")
        assert await store.records.cancel(job_id, "t") is job.status
        assert await other.claims.finish(job_id, "1/n", outcome, data) == told, "sent twice: the same answer"  # type: ignore[arg-type]
        assert (await store.records.read(job_id, "t")) == job
        winners[outcome, "asked before" if asked else "asked after"] += 1

    for _ in range(RACES // 50):
        await asyncio.gather(*[race() for _ in range(50)])
    print(dict(winners))
    assert sum(winners.values()) == RACES
    assert len(winners) == 4, "every order of the two was met"


@pytest.mark.parametrize("write", ["retry", "crash", "release", "suspect", "unstarted", "claim", "sweep"])
async def test_races_of_cancel_against_every_other_write_of_a_worker_end_canceled(
    store: Store, other: Store, settings: Settings, write: str
) -> None:
    rng = random.Random(write)

    async def race() -> None:
        job_id = await submit(store) if write == "claim" else await claimed(store)

        async def work() -> None:
            await asyncio.sleep(rng.random() * 0.003)
            if write == "claim":
                await other.claims.claim(job_id, "n", "w", "cpu")
            elif write == "retry":
                await other.claims.retry_later(job_id, "1/n", 0.001, FAILURE)
            elif write == "sweep":
                await other.upkeep.sweep()
            else:
                await other.claims.hand_back(job_id, "1/n", write)  # type: ignore[arg-type]

        async def cancel() -> Status:
            await asyncio.sleep(rng.random() * 0.003)
            return await store.records.cancel(job_id, "t")

        _, answer = await asyncio.gather(work(), cancel())
        if answer is Status.CANCELING:
            # Whoever holds it ends it: its worker, or the sweep when that is gone.
            await other.claims.hand_back(job_id, "1/n", "crash")
        job = await ended(store, job_id)
        assert job.status is Status.CANCELED
        assert job.attempt <= 1
        assert await store.claims.claim(job_id, "again", "w", "cpu") is None

    await asyncio.gather(*[race() for _ in range(40)])


@pytest.mark.parametrize("state", ["scheduled", "queued", "retrying"])
async def test_a_job_that_waits_is_canceled_at_once_and_nothing_brings_it_back(store: Store, state: str) -> None:
    job_id = await submit(store, delay=0.05 if state == "scheduled" else 0.0)
    if state == "retrying":
        await store.claims.claim(job_id, "n", "w", "cpu")
        await store.claims.retry_later(job_id, "1/n", 0.05, FAILURE)
    assert (await store.records.read(job_id, "t")).status.value == state
    assert await store.records.cancel(job_id, "t") is Status.CANCELED
    await asyncio.sleep(0.1)
    await store.upkeep.release_due()
    job = await ended(store, job_id)
    assert job.status is Status.CANCELED
    assert "stopped_by" not in orjson.loads(job.error or b"")


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once"])
async def test_a_canceling_job_whose_worker_is_lost_is_canceled(store: Store, delivery: Any) -> None:
    job_id = await claimed(store, Policy(delivery=delivery))
    assert await store.records.cancel(job_id, "t") is Status.CANCELING
    assert await store.claims.hand_back(job_id, "1/n", "crash", FAILURE) == "canceled"
    assert (await ended(store, job_id)).status is Status.CANCELED


@pytest.mark.parametrize("status", sorted(TERMINAL))
async def test_a_finished_job_does_not_change_when_it_is_canceled(store: Store, status: Status) -> None:
    job_id = await claimed(store) if status is not Status.EXPIRED else await submit(store, Policy(start_within=0.01))
    if status is Status.EXPIRED:
        await asyncio.sleep(0.05)
        await store.upkeep.release_due()
    else:
        await store.claims.finish(job_id, "1/n", status.value, b'"x"' if status is Status.SUCCEEDED else FAILURE)  # type: ignore[arg-type]
    before = await ended(store, job_id)
    assert before.status is status
    assert await store.records.cancel(job_id, "t") is status
    assert await store.records.read(job_id, "t") == before


async def test_a_partial_output_is_marked_and_nothing_else_is(store: Store) -> None:
    partial, whole = await claimed(store), await claimed(store)
    await store.claims.finish(partial, "1/n", "succeeded", b'"half"', partial=True)
    await store.claims.finish(whole, "1/n", "succeeded", b'"all"')
    assert (await store.records.read(partial, "t")).partial
    assert not (await store.records.read(whole, "t")).partial
