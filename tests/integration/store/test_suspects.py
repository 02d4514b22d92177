"""Suspects wait in the store: for whom, until when, and what is charged to them when a worker is lost."""

from __future__ import annotations

import asyncio

from tests.integration.store.test_scripts import LANE, claimed, status, submit, tickets

from longrun.jobs.policy import Policy
from longrun.store.claims import Company
from longrun.store.store import Store


async def suspect(store: Store, group: str = "c-0.1", policy: Policy | None = None) -> str:
    job_id = await claimed(store, policy)
    await tickets(store)
    assert await store.claims.hand_back(job_id, "1/n", "suspect", b"", group) == "queued"
    return job_id


async def found(store: Store, worker: str = "w", more: int = 9) -> list[tuple[str, str]]:
    return sorted((each.id, each.group) for each in await store.claims.suspects(worker, [LANE], more))


async def waits(store: Store) -> int:
    return int(await store.connection.command("HLEN", f"{store.prefix}suspects:{LANE}"))


async def lost(store: Store, job_id: str) -> tuple[str, int, str]:
    """The worker `w` is lost: the job's status, its crashes, and its group."""
    await store.upkeep.report_lost("w")
    crashes, group = await store.connection.command("HMGET", f"{store.prefix}job:{job_id}", "crashes", "suspect")
    return await status(store, job_id), int(crashes or 0), (group or b"").decode()


async def test_a_suspect_has_no_ticket_and_is_taken_by_those_who_have_a_runner_for_its_group(store: Store) -> None:
    job_id = await suspect(store)
    assert await tickets(store) == []
    assert await store.claims.claim_all([job_id], "n", "w", "cpu", groups=["c-1.1"]) == [None]
    record = await store.records.read(job_id, "t")
    assert (record.status, record.attempt) == ("queued", 1)
    assert await found(store) == [(job_id, "c-0.1")]
    (claim,) = await store.claims.claim_all([job_id], "n2", "w", "cpu", groups=["c-1.1", "c-0.1"])
    assert claim is not None
    assert (claim.suspect, claim.attempt, await waits(store), await found(store)) == ("c-0.1", 2, 0, [])


async def test_a_suspect_that_is_canceled_or_expires_waits_no_longer(store: Store) -> None:
    canceled, late = await suspect(store), await suspect(store, policy=Policy(total_timeout=0.05))
    await store.records.cancel(canceled, "t")
    await asyncio.sleep(0.1)
    await store.upkeep.release_due()
    assert [await status(store, each) for each in (canceled, late)] == ["canceled", "expired"]
    assert await waits(store) == 0


async def test_a_group_is_held_by_one_worker_as_long_as_it_asks(store: Store) -> None:
    one, two, other = await suspect(store), await suspect(store), await suspect(store, "c-1.1")
    group = sorted([(one, "c-0.1"), (two, "c-0.1")])
    first = await found(store, "w1", more=1)
    assert first in (group, [(other, "c-1.1")])
    assert await found(store, "w1", more=0) == first
    assert sorted(first + await found(store, "w2")) == sorted([*group, (other, "c-1.1")])
    assert await found(store, "w3") == []
    loose = await store.claims.suspects("w1", [LANE], 0, [first[0][1]])
    assert sorted((each.id, each.group) for each in loose) == first
    assert sorted(await found(store, "w3")) == first, "what is not held is for whoever asks next"
    await store.connection.command("DEL", *(f"{store.prefix}held:{name}" for name in ("c-0.1", "c-1.1")))  # their leases run out
    assert len(await found(store, "w4")) == 3


async def test_lost_tickets_of_suspects_are_not_missed(store: Store) -> None:
    await suspect(store)
    assert await store.upkeep.refill(LANE, push=True) == (0, 0, 0)
    await submit(store)
    await tickets(store)
    await store.connection.command("DEL", f"{store.prefix}doubt")
    assert await store.upkeep.refill(LANE, push=True) == (1, 0, 1)


async def at_its_last(store: Store) -> str:
    job_id = await claimed(store, Policy(max_crashes=2))
    assert await store.claims.hand_back(job_id, "1/n", "crash") == "queued"
    return job_id


async def test_a_job_at_its_last_fails_with_its_worker_when_it_runs_there_by_itself(store: Store) -> None:
    job_id = await at_its_last(store)
    assert await store.claims.claim_all([job_id], "n", "w", "cpu", groups=[job_id])
    assert await lost(store, job_id) == ("failed", 2, job_id)


async def test_it_does_not_when_others_run_there_before_it_with_it_or_after_it(store: Store) -> None:
    ordinary = await submit(store)
    for case in ("before", "with", "after", "another at its last"):
        job_id, more = await at_its_last(store), await submit(store)
        ids = [more, job_id] if case == "with" else [job_id]
        company = Company(busy=case == "before", at_their_last=())
        assert all(await store.claims.claim_all(ids, f"n {case}", "w", "cpu", groups=[job_id], company=company))
        if case == "after":
            assert all(
                await store.claims.claim_all([ordinary], "n after it", "w", "cpu", company=Company(busy=True, at_their_last=[job_id]))
            )
        if case == "another at its last":
            mate = await at_its_last(store)
            company = Company(busy=True, at_their_last=[job_id])
            assert all(await store.claims.claim_all([mate], "n mate", "w", "cpu", groups=[mate], company=company))
        assert await lost(store, job_id) == ("queued", 1, f"{job_id}.2"), case


async def test_this_comes_to_an_end(store: Store) -> None:
    job_id, times = await at_its_last(store), 0
    while await status(store, job_id) == "queued":
        times += 1
        assert all(await store.claims.claim_all([job_id], f"n{times}", "w", "cpu", company=Company(busy=True, at_their_last=())))
        await store.upkeep.report_lost("w")
    assert (times, await status(store, job_id)) == (5, "failed")


async def test_a_crash_of_its_own_runner_is_its_own_whatever_else_the_worker_runs(store: Store) -> None:
    job_id = await at_its_last(store)
    assert all(await store.claims.claim_all([job_id], "n", "w", "cpu", company=Company(busy=True, at_their_last=())))
    assert await store.claims.hand_back(job_id, "2/n", "crash") == "failed"
