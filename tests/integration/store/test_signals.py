"""Signals: people answer what a job waits for, or will wait for. One name has one value."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.integration.store.test_scripts import FAILURE, submit, tickets
from tests.integration.store.trees import MARK, ask, bury_all, claim, end, ends, field, parent, wait

from longrun.clock import new_job_id
from longrun.errors import JobGone, JobNotFound
from longrun.jobs.policy import Policy
from longrun.store.steps import SignalWait
from longrun.store.store import Store
from longrun.store.trees import MOST_SIGNALS, MOST_VALUE


async def test_an_answer_counts_once_and_the_same_again_is_the_same(store: Store) -> None:
    held = await parent(store)
    await wait(store, held, "approve")
    before = await store.records.read(held.id, "t")
    assert before.asks == "approve"
    answers = [await store.trees.signal(held.id, "t", "approve", value) for value in (b'{"ok":true}', b'{"ok":true}', b'{"ok":false}')]
    assert answers == ["new", "same", "other"]
    assert await ends(store, held.id) == [b"s:approve"]
    job = await store.records.read(held.id, "t")
    assert (job.asks, job.version) == (None, before.version + 1), "who waits for a change hears of it"
    assert (await wait(store, held, "approve")).data == b'{"ok":true}'


async def test_of_a_hundred_answers_at_once_one_counts(store: Store) -> None:
    held = await parent(store)
    await wait(store, held, "approve")
    answers = await asyncio.gather(*(store.trees.signal(held.id, "t", "approve", b"%d" % n) for n in range(100)))
    assert sorted(answers) == ["new"] + ["other"] * 99
    assert await ends(store, held.id) == [b"s:approve"]
    assert (await wait(store, held, "approve")).data == b"%d" % answers.index("new")


async def test_an_answer_wakes_the_parent_that_waits_and_the_one_that_sleeps(store: Store) -> None:
    for asleep in (False, True):
        held = await parent(store)
        await ask(store, held, SignalWait("s:ok", MARK, "ok", 3600), need=1)
        assert await field(store, held.id, "status") == b"waiting"
        async with store.follower.listen(store.worker_channel("w")) as listener:
            if asleep:
                assert await store.steps.let_go([(held.id, held.fence, 0, b"")]) == ["asleep"]
            assert await store.trees.signal(held.id, "t", "ok", b"1") == "new"
            if not asleep:
                assert await listener.wait(2) == [f"step {held.id}".encode()]
        assert await field(store, held.id, "status") == (b"queued" if asleep else b"waiting")


async def test_an_answer_that_comes_before_the_question_is_kept(store: Store) -> None:
    held = await parent(store)
    assert await store.trees.signal(held.id, "t", "early", b"1") == "new"
    assert await store.trees.signal(held.id, "t", "early", b"1") == "same"
    result = await wait(store, held, "early")
    assert (result.state, result.data) == ("succeeded", b"1")
    assert await ends(store, held.id) == [b"s:early"]
    assert (await store.records.read(held.id, "t")).asks is None


async def test_one_that_comes_before_the_job_has_run_is_kept_and_loses_no_ticket(store: Store) -> None:
    job_id = await submit(store)
    assert await store.trees.signal(job_id, "t", "early", b"1") == "new"
    assert (await tickets(store)).count(job_id.encode()) >= 1
    held = await claim(store, job_id)
    assert held.flow is not None and held.flow.journal, "the run reads it"
    assert (await wait(store, held, "early")).data == b"1"


async def test_one_that_comes_after_the_time_of_its_wait_is_refused_for_good(store: Store) -> None:
    """By the server's clock, also when nobody has looked at the wait since."""
    held = await parent(store)
    await wait(store, held, "late", seconds=0.01)
    await asyncio.sleep(0.02)
    assert await store.trees.signal(held.id, "t", "late", b"1") == "over"
    assert await store.trees.signal(held.id, "t", "late", b"1") == "over"
    assert await ends(store, held.id) == [b"s:late"]
    result = await wait(store, held, "late")
    assert (result.state, b'"wait-timeout"' in result.data) == ("failed", True), "what the caller was told and what the parent sees are one"
    assert (await store.records.read(held.id, "t")).asks is None


async def test_whoever_comes_at_the_end_of_the_time_caller_and_parent_see_the_same(store: Store) -> None:
    """The one script that is first decides."""
    for _ in range(30):
        held = await parent(store)
        await wait(store, held, "ok", seconds=0.004)
        answer, resumed = "", None
        while answer == "" and (resumed is None or resumed.ended == 0):
            signal, resumed = await asyncio.gather(
                store.trees.signal(held.id, "t", "ok", b"1") if time.monotonic_ns() % 3 == 0 else asyncio.sleep(0.001, ""),
                store.steps.resume(held.id, held.fence, 0, go=False),
            )
            answer = answer or str(signal)
        last = await store.trees.signal(held.id, "t", "ok", b"1")
        state = (await wait(store, held, "ok")).state
        assert (last, state) in {("same", "succeeded"), ("over", "failed")}
        assert await ends(store, held.id) == [b"s:ok"]


async def test_a_wait_whose_time_was_over_is_asked_again_after_a_retry_and_may_be_answered(store: Store) -> None:
    held = await parent(store, Policy(max_attempts=2))
    await wait(store, held, "ok", seconds=0)
    assert await store.trees.signal(held.id, "t", "ok", b"1") == "over"
    assert await store.claims.retry_later(held.id, held.fence, 0, FAILURE) == "retrying"
    await store.upkeep.release_due()
    assert await store.trees.signal(held.id, "t", "ok", b"1") == "new", "before it is asked"
    again = await claim(store, held.id)
    assert (await wait(store, again, "ok")).data == b"1"


async def test_an_ended_job_takes_no_answer_but_knows_the_one_it_has(store: Store) -> None:
    held = await parent(store)
    await wait(store, held, "open")
    await store.trees.signal(held.id, "t", "a", b"1")
    await end(store, held.id, held=held)
    assert await store.trees.signal(held.id, "t", "a", b"1") == "same", "the answer to it was lost on the way"
    assert await store.trees.signal(held.id, "t", "open", b"1") == "ended"
    assert (await store.records.read(held.id, "t")).asks is None


@pytest.mark.parametrize("tenant", ["u", "t"])
async def test_a_job_of_others_and_one_that_is_gone_are_not_there(store: Store, tenant: str) -> None:
    held = await parent(store)
    await end(store, held.id, held=held)
    await store.records.delete(held.id, "t")
    with pytest.raises(JobNotFound if tenant == "u" else JobGone):
        await store.trees.signal(held.id, tenant, "a", b"1")


async def test_a_job_has_a_hundred_names_of_64_kilobytes(store: Store) -> None:
    job_id = (await parent(store)).id
    assert await store.trees.signal(job_id, "t", "large", b'"%s"' % (b"x" * (MOST_VALUE - 1))) == "full"
    assert await store.trees.signal(job_id, "t", "0", b'"%s"' % (b"x" * (MOST_VALUE - 2))) == "new"
    answers = [await store.trees.signal(job_id, "t", str(n), b"1") for n in range(1, MOST_SIGNALS + 1)]
    assert answers == ["new"] * (MOST_SIGNALS - 1) + ["full"]
    assert await store.trees.signal(job_id, "t", "1", b"1") == "same"


async def test_what_is_asked_can_be_answered_however_many_answers_there_are(store: Store) -> None:
    held = await parent(store)
    for n in range(MOST_SIGNALS):
        await store.trees.signal(held.id, "t", f"early{n}", b"1")
    for n in range(MOST_SIGNALS):
        await wait(store, held, f"asked{n}")
        assert await store.trees.signal(held.id, "t", f"asked{n}", b"1") == "new"
    assert await store.trees.signal(held.id, "t", "unasked", b"1") == "full"
    await wait(store, held, "early0")
    assert await store.trees.signal(held.id, "t", "unasked", b"1") == "new", "the one that was asked for still takes its room"
    await store.steps.forget_signal(held.id, held.fence, "early0")
    assert await store.trees.signal(held.id, "t", "another", b"1") == "full"


async def test_one_that_did_not_fit_leaves_room_for_another(store: Store) -> None:
    held = await parent(store)
    for _ in range(MOST_SIGNALS + 1):
        assert await store.trees.signal(held.id, "t", "a", b"1") == "new"
        await store.steps.forget_signal(held.id, held.fence, "a")


async def test_open_asks_are_those_without_an_answer_and_in_their_time(store: Store) -> None:
    held = await parent(store)
    for name, seconds in (("open", 3600), ("answered", 3600), ("late", 0)):
        await wait(store, held, name, seconds)
    await store.trees.signal(held.id, "t", "answered", b"1")
    (found,) = await store.trees.open_asks(held.id, ["open", "answered", "late", "unknown"])
    assert (found.name, found.ask, found.schema) == ("open", b'{"draft":[]}', b'{"type":"object"}')
    assert found.until > time.time() * 1000
    assert await store.trees.open_asks(held.id, []) == []


async def test_what_people_answered_goes_with_the_job(store: Store) -> None:
    held = await parent(store)
    await wait(store, held, "open")
    await store.trees.signal(held.id, "t", "a", b'"secret"')
    await end(store, held.id, held=held)
    await store.records.delete(held.id, "t")
    await bury_all(store)
    for kind in ("steps", "ends", "timers"):
        assert await store.connection.command("EXISTS", f"{store.prefix}{kind}:{held.id}") == 0


async def test_answers_stay_with_a_retry_and_waits_that_were_open_are_asked_again(store: Store) -> None:
    held = await parent(store)
    for name, seconds in (("open", 3600), ("late", 0), ("answered", 3600)):
        await wait(store, held, name, seconds)
    assert [await store.trees.signal(held.id, "t", name, b"1") for name in ("late", "answered")] == ["over", "new"]
    await end(store, held.id, "failed", FAILURE, held)
    fresh = await claim(store, await store.records.resubmit(held.id, "t", new_job_id()))
    assert (await store.records.read(fresh.id, "t")).asks is None
    results = [await wait(store, fresh, name, 7200) for name in ("open", "late", "answered")]
    assert [result.state for result in results] == ["pending", "pending", "succeeded"]
    assert min(result.due for result in results[:2]) > time.time() * 1000 + 3_700_000, "with a time of their own"
    assert sorted(((await store.records.read(fresh.id, "t")).asks or "").split()) == ["late", "open"]
    assert await store.trees.signal(fresh.id, "t", "open", b"1") == "new"
