"""The scripts, one transition after the other, on a real Valkey."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from longrun.clock import new_job_id
from longrun.errors import JobGone, JobNotFound, NotFinished, NotRetryable
from longrun.jobs.policy import Policy
from longrun.jobs.states import Status
from longrun.settings import Settings
from longrun.store.records import NewJob
from longrun.store.store import Store

LANE = "gpu.m"
FAILURE = b'{"code":"model-error","detail":"x","attempt":1}'


def new_job(policy: Policy | None = None, **given: Any) -> NewJob:
    members: dict[str, Any] = {"id": new_job_id(), "tenant": "t", "model": "m", "queue": "gpu", "priority": 5, "input": b'{"x":1}'}
    return NewJob(**members | {"policy": (policy or Policy()).to_json()} | given)


async def submit(store: Store, policy: Policy | None = None, **given: Any) -> str:
    job = new_job(policy, **given)
    assert (await store.records.submit(job)).outcome == "new"
    return job.id


async def claimed(store: Store, policy: Policy | None = None, **given: Any) -> str:
    job_id = await submit(store, policy, **given)
    assert await store.claims.claim(job_id, "n", "w", "cpu") is not None
    return job_id


async def status(store: Store, job_id: str) -> str:
    return (await store.records.read(job_id, "t")).status.value


async def tickets(store: Store, free: int = 100) -> list[bytes]:
    return list(await store.connection.run("pop", LANE, free))[2::3]


async def test_a_submit_sent_twice_makes_one_job_and_one_ticket(store: Store) -> None:
    job = new_job()
    first, second = await store.records.submit(job), await store.records.submit(job)
    assert (first.outcome, second.outcome) == ("new", "new")
    assert len(await tickets(store)) == 1


async def test_a_hundred_parallel_submits_with_one_key_make_one_job(store: Store) -> None:
    jobs = [new_job(idempotency_key="k", fingerprint="f") for _ in range(100)]
    answers = await asyncio.gather(*[store.records.submit(job) for job in jobs])
    assert len({answer.id for answer in answers}) == 1
    assert sorted(answer.outcome for answer in answers) == ["new"] + ["replay"] * 99
    assert len(await tickets(store)) == 1


async def test_a_key_used_with_another_body_is_refused(store: Store) -> None:
    await submit(store, idempotency_key="k", fingerprint="f")
    assert (await store.records.submit(new_job(idempotency_key="k", fingerprint="g"))).outcome == "reused"


async def test_a_full_lane_refuses_and_stores_nothing(valkey_url: str, settings: Settings, store: Store) -> None:
    small = Store(valkey_url, settings.model_copy(update={"max_queued": 2}), "@ID@")
    answers = [await small.records.submit(new_job()) for _ in range(3)]
    await small.close()
    assert [answer.outcome for answer in answers] == ["new", "new", "full"]
    assert len((await store.records.list("t", cursor=None, look_at=100, since=0, filters=[])).jobs) == 2


async def test_tickets_come_most_urgent_first_and_in_order_inside_a_priority(store: Store) -> None:
    ids = {(priority, n): await submit(store, priority=priority) for n in range(2) for priority in (0, 5, 9, 4)}
    got = [job_id.decode() for job_id in await tickets(store)]
    assert got == [ids[priority, n] for priority in (9, 5, 4, 0) for n in range(2)]


async def test_a_pop_takes_no_more_than_the_free_slots_and_wakes_the_next_worker(store: Store) -> None:
    for _ in range(5):
        await submit(store)
    await store.connection.command("DEL", f"{store.prefix}wake:{LANE}")
    assert len(await tickets(store, free=3)) == 3
    assert await store.connection.command("LLEN", f"{store.prefix}wake:{LANE}") == 1
    assert len(await tickets(store, free=3)) == 2


async def test_lanes_take_turns_inside_a_priority(store: Store) -> None:
    for _ in range(40):
        await submit(store, model="a")
    for _ in range(3):
        await submit(store, model="b")
    reply = await store.connection.run("pop", "gpu.a", 100, "gpu.b", 100)
    assert list(reply[::3]).index(b"gpu.b") < 9


async def test_position_counts_from_one_and_moves_up(store: Store) -> None:
    ids = [await submit(store) for _ in range(3)]
    urgent = await submit(store, priority=9)
    assert [(await store.records.read(job_id, "t")).position for job_id in (urgent, *ids)] == [1, 2, 3, 4]
    await store.claims.claim(urgent, "n", "w", "cpu")
    assert (await store.records.read(ids[2], "t")).position == 3


async def test_a_claim_sent_twice_gets_the_same_answer_and_another_worker_gets_none(store: Store) -> None:
    job_id = await submit(store)
    first = await store.claims.claim(job_id, "n1", "w", "cpu")
    assert first is not None
    assert first.attempt == 1
    assert await store.claims.claim(job_id, "n1", "w", "cpu") == first
    assert await store.claims.claim(job_id, "n2", "w", "cpu") is None


async def test_a_stale_attempt_can_write_nothing(store: Store) -> None:
    job_id = await claimed(store)
    assert await store.claims.hand_back(job_id, "1/n", "release") == "queued"
    second = await store.claims.claim(job_id, "n2", "w2", "cpu")
    assert second is not None
    assert second.attempt == 2
    assert await store.claims.append(job_id, "1/n", 0, b"", [("output", b'{"value":"old"}')]) is False
    assert await store.claims.finish(job_id, "1/n", "succeeded", b'"old"') is None
    assert await store.claims.retry_later(job_id, "1/n", 0, FAILURE) is None
    assert await store.claims.heartbeat([(job_id, "1/n")], 2) == [0]
    assert await store.claims.finish(job_id, "2/n2", "succeeded", b'"new"') == "succeeded"
    assert (await store.records.read(job_id, "t")).output == b'"new"'


async def test_a_finish_sent_twice_changes_nothing_and_says_the_same(store: Store) -> None:
    job_id = await claimed(store)
    assert await store.claims.finish(job_id, "1/n", "succeeded", b"1") == "succeeded"
    version = (await store.records.read(job_id, "t")).version
    assert await store.claims.finish(job_id, "1/n", "succeeded", b"2") == "succeeded"
    assert await store.claims.finish(job_id, "1/n", "failed", FAILURE) is None
    record = await store.records.read(job_id, "t")
    assert (record.output, record.version) == (b"1", version)
    assert [event.type for event in (await store.records.events(job_id, "t", 0, 100)).events].count("done") == 1


async def test_events_appended_twice_are_stored_once_and_have_dense_numbers(store: Store) -> None:
    job_id = await claimed(store)
    events = [("output", b'{"value":"a"}'), ("progress", b'{"fraction":0.5}')]
    assert await store.claims.append(job_id, "1/n", 0, b'{"fraction":0.5}', events)
    assert await store.claims.append(job_id, "1/n", 0, b'{"fraction":0.5}', [*events, ("output", b'{"value":"b"}')])
    page = await store.records.events(job_id, "t", 0, 100)
    assert [(event.seq, event.type) for event in page.events] == [
        (1, "queued"), (2, "started"), (3, "output"), (4, "progress"), (5, "output"),
    ]  # fmt: skip
    assert [event.seq for event in (await store.records.events(job_id, "t", 3, 1)).events] == [4]


async def test_a_retry_waits_for_its_time_and_then_queues_again(store: Store) -> None:
    job_id = await claimed(store, Policy(max_attempts=3))
    assert await store.claims.retry_later(job_id, "1/n", 0.05, FAILURE) == "retrying"
    assert await store.claims.retry_later(job_id, "1/n", 0.05, FAILURE) == "retrying"
    record = await store.records.read(job_id, "t")
    assert (record.status, record.errors, record.retries_left) == (Status.RETRYING, 1, 1)
    assert record.due is not None
    assert await store.upkeep.release_due() == 0
    await asyncio.sleep(0.08)
    assert await store.upkeep.release_due() == 1
    assert await status(store, job_id) == "queued"


async def test_a_delayed_job_is_scheduled_and_has_no_ticket_until_it_is_due(store: Store) -> None:
    job_id = await submit(store, delay=0.05)
    assert await status(store, job_id) == "scheduled"
    assert await tickets(store) == []
    await asyncio.sleep(0.08)
    await store.upkeep.release_due()
    assert len(await tickets(store)) == 1


async def test_a_job_that_does_not_start_in_time_expires(store: Store) -> None:
    waiting, popped = [await submit(store, Policy(start_within=0.05)) for _ in range(2)]
    await asyncio.sleep(0.08)
    assert await store.claims.claim(popped, "n", "w", "cpu") is None
    await store.upkeep.release_due()
    assert [await status(store, job_id) for job_id in (waiting, popped)] == ["expired", "expired"]


async def test_cancel_ends_a_waiting_job_and_asks_a_running_one(store: Store) -> None:
    waiting, running = await submit(store), await claimed(store)
    async with store.follower.listen(store.worker_channel("w")) as commands:
        assert await store.records.cancel(waiting, "t") is Status.CANCELED
        assert await store.records.cancel(running, "t") is Status.CANCELING
        assert await commands.wait(2) == [f"cancel {running}".encode()]
    assert await store.records.cancel(waiting, "t") is Status.CANCELED
    assert await store.claims.heartbeat([(running, "1/n")], 2) == [2]


@pytest.mark.parametrize(("outcome", "ends"), [("succeeded", "succeeded"), ("failed", "canceled"), ("canceled", "canceled")])
async def test_from_canceling_a_success_counts_and_anything_else_is_canceled(store: Store, outcome: Any, ends: str) -> None:
    job_id = await claimed(store)
    await store.records.cancel(job_id, "t")
    assert await store.claims.finish(job_id, "1/n", outcome, FAILURE) == ends


async def test_crashes_are_counted_and_end_in_the_dead_letters(store: Store) -> None:
    job_id = await submit(store, Policy(max_crashes=2))
    for attempt, after in ((1, "queued"), (2, "failed")):
        claim = await store.claims.claim(job_id, f"n{attempt}", "w", "cpu")
        assert claim is not None
        assert claim.suspect == (job_id if attempt > 1 else "")
        assert await store.claims.hand_back(job_id, claim.fence, "crash") == after
    record = await store.records.read(job_id, "t")
    assert b'"worker-lost"' in (record.error or b"")
    dead = await store.records.list("t", cursor=None, look_at=10, since=0, filters=[], index="dead")
    assert [job.id for job in dead.jobs] == [job_id]


async def test_an_at_most_once_job_is_never_run_again_after_it_started(store: Store) -> None:
    job_id = await claimed(store, Policy(delivery="at_most_once"))
    assert await store.claims.hand_back(job_id, "1/n", "unstarted") == "queued"
    await store.claims.claim(job_id, "n2", "w", "cpu")
    assert await store.claims.hand_back(job_id, "2/n2", "release") == "failed"
    assert b'"outcome-unknown"' in ((await store.records.read(job_id, "t")).error or b"")


@pytest.mark.parametrize("lease", [2])
async def test_an_expired_lease_is_requeued_in_front(store: Store, settings: Settings) -> None:
    lost = await claimed(store)
    later = await submit(store)
    await store.upkeep.sweep()
    for _ in range(80):
        await asyncio.sleep(0.1)
        if swept := await store.upkeep.sweep():
            break
    assert swept == {lost: "queued"}
    assert (await store.records.read(lost, "t")).position == 1
    assert (await store.records.read(later, "t")).position == 2
    attempts = await store.records.attempts(lost, "t")
    assert [(attempt.outcome, attempt.worker) for attempt in attempts] == [("crashed", "w")]


@pytest.mark.parametrize("lease", [2])
async def test_nothing_expires_for_a_lease_after_nobody_swept(store: Store, settings: Settings) -> None:
    await store.upkeep.sweep()
    await claimed(store)
    await asyncio.sleep(settings.lease + 0.3)
    assert await store.upkeep.sweep() == {}


async def test_a_popped_ticket_that_is_not_claimed_is_pushed_again(store: Store) -> None:
    job_id = await submit(store)
    assert len(await tickets(store)) == 1
    assert await store.upkeep.republish(60) == 0
    assert await store.upkeep.republish(0) == 1
    assert len(await tickets(store)) == 1
    await store.claims.claim(job_id, "n", "w", "cpu")
    assert await store.upkeep.republish(0) == 0


async def test_a_lane_that_lost_its_tickets_is_refilled(store: Store) -> None:
    await submit(store)
    await store.connection.command("DEL", f"{store.prefix}{LANE}:4")
    assert await store.upkeep.refill(LANE, push=False) == (1, 0, 0)
    assert await store.upkeep.refill(LANE, push=True) == (1, 0, 1)
    assert len(await tickets(store)) == 1


async def test_retry_makes_one_new_job_however_often_it_is_asked(store: Store) -> None:
    job_id = await claimed(store, tags=b'["a"]', metadata=b'{"k":1}')
    with pytest.raises(NotRetryable):
        await store.records.resubmit(job_id, "t", new_job_id())
    await store.claims.finish(job_id, "1/n", "failed", FAILURE)
    new = await store.records.resubmit(job_id, "t", new_job_id())
    assert await store.records.resubmit(job_id, "t", new_job_id()) == new
    record = await store.records.read(new, "t")
    assert (record.retry_of, record.tags, record.metadata, record.status) == (job_id, b'["a"]', b'{"k":1}', Status.QUEUED)
    assert (await store.records.read(job_id, "t")).retried_by == new
    assert (await store.claims.claim(new, "n", "w", "cpu")).input == b'{"x":1}'  # type: ignore[union-attr]


async def test_delete_leaves_a_tombstone_and_another_tenant_sees_nothing(store: Store) -> None:
    job_id = await claimed(store, idempotency_key="k", fingerprint="f")
    with pytest.raises(NotFinished):
        await store.records.delete(job_id, "t")
    await store.claims.finish(job_id, "1/n", "succeeded", b"1")
    with pytest.raises(JobNotFound):
        await store.records.delete(job_id, "other")
    await store.records.delete(job_id, "t")
    with pytest.raises(JobGone):
        await store.records.read(job_id, "t")
    with pytest.raises(JobNotFound):
        await store.records.read(job_id, "other")
    assert await store.connection.command("EXISTS", f"{store.prefix}ev:{job_id}") == 0
    # The key still names the job that was: it must not be paid for again.
    assert (await store.records.submit(new_job(idempotency_key="k", fingerprint="f"))).outcome == "replay"


async def test_a_finished_job_is_gone_after_its_retention_even_before_a_chore_ran(store: Store) -> None:
    job_id = await claimed(store, Policy(retain_for=0.05))
    await store.claims.finish(job_id, "1/n", "succeeded", b"1")
    assert await status(store, job_id) == "succeeded"
    await asyncio.sleep(0.08)
    with pytest.raises(JobGone):
        await store.records.read(job_id, "t")
    assert await store.upkeep.expire() == 1
    with pytest.raises(JobGone):
        await store.records.read(job_id, "t")


async def test_the_listing_pages_through_all_jobs_newest_first(store: Store) -> None:
    ids = [await submit(store, model="ab"[n % 2], tags=b'["x"]' if n < 3 else None) for n in range(7)]
    seen, cursor = [], None
    while True:
        page = await store.records.list("t", cursor=cursor, look_at=3, since=0, filters=[])
        seen += [job.id for job in page.jobs]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(ids)
    created = [(await store.records.read(job_id, "t")).created for job_id in seen]
    assert created == sorted(created, reverse=True)
    filtered = await store.records.list("t", cursor=None, look_at=100, since=0, filters=[("model", "a"), ("tag", '"x"')])
    assert {job.id for job in filtered.jobs} == {ids[0], ids[2]}


async def test_the_jobs_of_a_worker_that_was_seen_dead_are_queued_at_once_and_only_those(store: Store) -> None:
    dead = [await submit(store) for _ in range(250)]
    alive = [await submit(store) for _ in range(250)]
    for ids, worker in ((dead, "dead@host"), (alive, "alive@host")):
        assert all(await store.claims.claim_all(ids, "n", worker, "cpu"))
    await store.claims.announce("dead@host", b"{}")
    moved = await store.upkeep.report_lost("dead@host")
    assert set(moved) == set(dead)
    assert set(moved.values()) == {"queued"}
    assert await store.claims.heartbeat([(alive[0], "1/n"), (dead[0], "1/n")], 1) == [1, 0]
    assert await store.upkeep.report_lost("dead@host") == {}
    (attempt,) = await store.records.attempts(dead[0], "t")
    assert (attempt.outcome, attempt.error and attempt.error["detail"]) == ("crashed", "The worker that ran the job was lost: dead@host.")


async def test_a_worker_reported_dead_is_no_longer_listed(store: Store) -> None:
    await store.claims.announce("dead@host", b"{}")
    await store.upkeep.report_lost("dead@host")
    assert await store.connection.command("EXISTS", f"{store.prefix}worker:dead@host") == 0
    assert await store.connection.command("ZCARD", f"{store.prefix}workers") == 0


async def test_total_timeout_also_ends_a_job_that_waits_for_another_attempt(store: Store) -> None:
    retried = await claimed(store, Policy(total_timeout=0.05, max_attempts=3))
    lost = await claimed(store, Policy(total_timeout=0.05))
    await store.claims.retry_later(retried, "1/n", 60, FAILURE)
    await store.claims.hand_back(lost, "1/n", "crash")
    await asyncio.sleep(0.06)
    await store.upkeep.release_due()
    for job_id in (retried, lost):
        job = await store.records.read(job_id, "t")
        assert (job.status, job.error) == (
            "expired",
            b'{"code":"expired","detail":"The job had not ended within its total_timeout.","attempt":1}',
        )
