"""Retries of a parent, its sleeps and waits, and what readers see, on a real Valkey."""

from __future__ import annotations

import asyncio
import time

import orjson
import pytest
from tests.integration.store.families import child, claim, field, ids, parent, run, signal, states, wait
from tests.integration.store.test_scripts import FAILURE

from longrun.jobs.policy import Policy
from longrun.store.steps import Sleep, StillStops
from longrun.store.store import Store

# -- retries -----------------------------------------------------------------------------------------------------------------


async def test_a_retry_of_the_parent_does_again_what_had_failed_and_nothing_else(store: Store) -> None:
    job = await parent(store, Policy(max_attempts=3))
    good, bad, canceled, unknown = await job.made("n:a", "n:b", "n:c", "n:d")
    await run(store, good.id)
    await run(store, bad.id, outcome="failed")
    await store.records.cancel(canceled.id, "t")
    held = await claim(store, unknown.id)
    await store.claims.finish(unknown.id, held.fence, "failed", b'{"code":"outcome-unknown","detail":"x","attempt":1}')
    assert [each.id for each in await job.made("n:a", "n:b", "n:c", "n:d")] == ids([good, bad, canceled, unknown]), "in the same epoch"
    await store.claims.retry_later(job.id, job.fence, 0, FAILURE)
    await store.upkeep.release_due()
    job = await claim(store, job.id)
    assert job.claim.flow is not None and (job.claim.flow.epoch, job.claim.flow.again) == (1, 0)
    again = await job.made("n:a", "n:b", "n:c", "n:d")
    assert [new.id == old.id for new, old in zip(again, (good, bad, canceled, unknown), strict=True)] == [True, False, False, True]
    assert states(again) == ["succeeded", "pending", "pending", "failed"]
    await store.connection.command("HSET", f"{store.prefix}job:{job.id}", "again", 1)
    assert (await job.made("n:d"))[0].id != unknown.id, "a person has decided that it may be done twice"


async def test_a_step_that_is_made_anew_keeps_what_it_had_finished(store: Store) -> None:
    job = await parent(store, Policy(max_attempts=3))
    (middle,) = await job.made("n:m")
    held = await claim(store, middle.id)
    done, bad = await held.made("n:a", "n:b")
    await run(store, done.id)
    await run(store, bad.id, outcome="failed")
    await held.finish("failed")
    await store.claims.retry_later(job.id, job.fence, 0, FAILURE)
    await store.upkeep.release_due()
    (anew,) = await (await claim(store, job.id)).made("n:m")
    assert anew.id != middle.id and await field(store, anew.id, "retry_of") == middle.id
    again = await claim(store, anew.id)
    assert again.claim.flow is not None and again.claim.flow.origin == held.claim.flow.origin  # type: ignore[union-attr]
    kept, new = await again.made("n:a", "n:b")
    assert (kept.id, kept.state) == (done.id, "succeeded") and new.id != bad.id


async def test_a_step_that_is_still_being_stopped_when_its_parent_retries_is_made_anew(store: Store) -> None:
    job = await parent(store, Policy(max_attempts=3))
    (old,) = await job.made("n:a")
    held = await claim(store, old.id)
    await store.steps.drop(job.id, job.fence, ["n:a"])
    assert await held.field("status") == "canceling"
    assert (await job.made("n:a"))[0].id == old.id, "in the same epoch"
    await store.claims.retry_later(job.id, job.fence, 0, FAILURE)
    await store.upkeep.release_due()
    job = await claim(store, job.id)
    with pytest.raises(StillStops):  # it may succeed
        await job.made("n:a", need=1)
    await held.finish("canceled")
    (new,) = await job.made("n:a", need=1)
    assert new.id != old.id and await job.field("status") == "waiting"
    await run(store, new.id)
    assert states(await job.made("n:a")) == ["succeeded"]


async def test_an_open_child_of_the_job_that_was_retried_is_nobody_elses(store: Store) -> None:
    old = await parent(store)
    done, open_ = await old.made("n:a", "n:b")
    await run(store, done.id)
    await old.finish("failed")
    new = await parent(store)
    # What a retry leaves (resubmit.lua).
    await store.connection.command("COPY", f"{store.prefix}steps:{old.id}", f"{store.prefix}steps:{new.id}")
    await store.connection.command("HSET", f"{store.prefix}job:{new.id}", "epoch", 1, "again", 1, "flow", 1, "origin", old.id)
    taken, made = await new.made("n:a", "n:b")
    assert taken.id == done.id and made.id != open_.id
    await store.steps.reap()
    assert [await field(store, each.id, "status") for each in (done, open_, made)] == ["succeeded", "canceled", "queued"]


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
async def test_a_retry_waits_for_the_end_of_what_still_runs_of_the_failed_job(store: Store, outcome: str) -> None:
    old = await parent(store)
    (running,) = await old.made("n:a")
    held = await claim(store, running.id)
    await old.finish("failed")
    new = await claim(store, await store.records.resubmit(old.id, "t", f"job_{'9' * 32}"))
    for _ in range(2):  # whether the chore has come to it or not
        assert await new.still_stops("n:a", "n:b")
    assert await field(store, running.id, "status") == "canceling"
    await held.finish(outcome)
    again, other = await new.made("n:a", "n:b")
    assert other.state == "pending"
    if outcome == "succeeded":
        assert (again.id, again.state, again.data) == (running.id, "succeeded", b'"done"')
    else:
        assert again.id != running.id and again.state == "pending"


async def test_a_later_epoch_of_a_parent_waits_for_the_end_of_what_the_one_before_has_stopped(store: Store) -> None:
    job = await parent(store, Policy(max_attempts=3))
    (running,) = await job.made("n:a")
    held = await claim(store, running.id)
    await store.steps.drop(job.id, job.fence, ["n:a"])
    assert ids(await job.made("n:a")) == [running.id], "in the same epoch it is what it was"
    await store.claims.retry_later(job.id, job.fence, 0, FAILURE)
    await store.upkeep.release_due()
    job = await claim(store, job.id)
    assert await job.still_stops("n:a")
    await held.finish("failed")
    (again,) = await job.made("n:a")
    assert again.id != running.id and again.state == "pending"


# -- sleeps and waits ----------------------------------------------------------------------------------------------------------


async def test_a_sleep_has_one_end_however_often_it_is_asked_for(store: Store) -> None:
    job = await parent(store)
    (first,) = await job.made(Sleep("z:60:1", "m", 60))
    await asyncio.sleep(0.01)
    (again,) = await job.made(Sleep("z:60:1", "m", 60))
    assert again == first and first.state == "pending" and first.due > time.time() * 1000
    (short,) = await job.made(Sleep("z:0:1", "m", 0))
    assert (short.state, short.data) == ("succeeded", b"null")


@pytest.mark.parametrize("held", [True, False])
async def test_a_parent_wakes_when_its_sleep_is_over_in_a_worker_or_out_of_it(store: Store, held: bool) -> None:
    job = await parent(store)
    answer = await job.ask(Sleep("z:0.05:1", "m", 0.05), "n:a", need=2)
    assert answer is not None and answer.waits
    if not held:
        assert await job.let_go() == "asleep"
    await asyncio.sleep(0.1)
    if held:
        assert await store.claims.heartbeat([(job.id, job.fence)], 1) == [3]
    assert await store.upkeep.release_due() == 1
    if not held:
        job = await claim(store, job.id)
    told = await store.steps.resume(job.id, job.fence, 0, go=True)
    assert told is not None and [(each.key, each.state, each.data) for each in told.results] == [("z:0.05:1", "succeeded", b"null")]
    assert (await job.made(Sleep("z:0.05:1", "m", 0.05)))[0].state == "succeeded"


async def test_a_wait_is_answered_by_what_came_before_it(store: Store) -> None:
    job = await parent(store)
    await signal(store, job, "ok", b'{"ok":true}')
    answer = await job.ask(wait("ok"), need=1)
    assert answer is not None and not answer.waits
    assert [(each.key, each.state, each.data) for each in answer.results] == [("s:ok", "succeeded", b'{"ok":true}')]
    assert await job.field("asks") is None


async def test_a_value_that_does_not_fit_is_dropped_and_the_wait_is_open_again(store: Store) -> None:
    job = await parent(store)
    await signal(store, job, "ok", b"1")
    await job.ask(wait("ok"))
    assert await store.steps.forget_signal(job.id, job.fence, "ok", b"1")
    assert await job.field("asks") == "ok"
    await signal(store, job, "ok", b"2")
    assert await store.steps.forget_signal(job.id, job.fence, "ok", b"1"), "sent twice"
    assert (await job.made(wait("ok")))[0].data == b"2"


async def test_a_wait_that_is_over_has_failed_for_good_in_this_epoch(store: Store) -> None:
    job = await parent(store, Policy(max_attempts=3))
    answer = await job.ask(wait("ok", 0.05), need=1)
    assert answer is not None and answer.waits and await job.field("asks") == "ok"
    assert await job.events("waiting") == [b'{"for":["ok"],"until":%d}' % answer.results[0].due]
    await asyncio.sleep(0.1)
    told = await store.steps.resume(job.id, job.fence, 0, go=True)
    assert told is not None
    assert [(each.key, each.state) for each in told.results] == [("s:ok", "failed")]
    assert orjson.loads(told.results[0].data)["code"] == "wait-timeout"
    assert await job.field("asks") is None
    assert (await job.made(wait("ok", 60)))[0].state == "failed"
    found = await store.steps.history(job.id, job.fence)
    assert found is not None and found[0]["v:ok"] == b"!"
    await store.claims.retry_later(job.id, job.fence, 0, FAILURE)
    await store.upkeep.release_due()
    job = await claim(store, job.id)
    found = await store.steps.history(job.id, job.fence)
    assert found is not None and "v:ok" not in found[0]
    assert (await job.made(wait("ok", 60)))[0].state == "pending" and await job.field("asks") == "ok"


# -- what readers see ------------------------------------------------------------------------------------------------------------


async def test_the_log_of_a_parent_shows_its_steps_and_waits(store: Store) -> None:
    job = await parent(store)
    (made,) = await job.made(child('n:"a"'), need=1)
    await run(store, made.id)
    await store.steps.resume(job.id, job.fence, 0, go=True)
    seen = [(each["key"], each["id"], each["model"], each["status"]) for each in map(orjson.loads, await job.events("step"))]
    assert seen == [('n:"a"', made.id, "leaf", status) for status in ("queued", "succeeded")]
    assert await job.events("waiting") == [b'{"for":["steps"],"until":null}']


async def test_the_log_shows_the_first_steps_and_waits_and_no_more(store: Store) -> None:
    job = await parent(store)
    made = [result for at in range(0, 300, 100) for result in await job.made(*[f"n:{number}" for number in range(at, at + 100)])]
    await run(store, made[0].id, made[250].id)
    assert len(await job.events("step")) == 201
    for _ in range(220):
        await job.ask(seen=-1, need=1)
        await store.steps.resume(job.id, job.fence, 0, go=True)
    assert len(await job.events("waiting")) == 200


async def test_a_parent_that_has_ended_hears_no_more_of_its_children(store: Store) -> None:
    job = await parent(store)
    (made,) = await job.made("n:a")
    held = await claim(store, made.id)
    await job.finish()
    before = (await store.records.events(job.id, "t", 0, 1000)).latest
    assert await store.steps.reap() > 0
    assert await held.finish() == "succeeded", "paid for"
    assert (await store.records.events(job.id, "t", 0, 1000)).latest == before
