"""Where steps stand in their lanes, what becomes of their tickets, and what an end leaves to be stopped or erased."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.store.families import Parent, child, claim, field, ids, parent, reaped, run
from tests.integration.store.test_scripts import FAILURE, new_job, submit

from longrun.jobs.policy import Policy
from longrun.store.store import Store

LANE = "gpu.leaf"


async def popped(store: Store, free: int = 100, lane: str = LANE) -> list[str]:
    """Ids that a worker with so many free slots gets."""
    return [job_id.decode() for job_id in (await store.connection.run("pop", lane, free))[2::3]]


async def plain(store: Store, priority: int = 5) -> str:
    """A job of the same lane that is no step."""
    await asyncio.sleep(0.002)
    return await submit(store, model="leaf", priority=priority)


# -- order -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("free", [1, 100])
async def test_a_step_stands_where_its_root_would(store: Store, free: int) -> None:
    before = await plain(store)
    old = await parent(store)
    between = await plain(store)
    young = await parent(store)
    after = await plain(store)
    steps = {of.id: set(ids(await of.made("n:a", "n:b"))) for of in (young, old)}
    order: list[str] = []
    while got := await popped(store, free):
        order += got
    assert order[0] == before and set(order[1:3]) == steps[old.id]
    assert order[3] == between and set(order[4:6]) == steps[young.id] and order[6:] == [after]


async def test_steps_of_a_parent_begin_in_the_order_in_which_it_asked_for_them(store: Store) -> None:
    job = await parent(store)
    made = ids(await job.made(*[f"n:{number}" for number in range(150)]))
    made += ids(await job.made("n:later"))
    first = await popped(store, 40)
    assert first == made[:40]
    held = await claim(store, first[20])
    assert await store.claims.retry_later(held.id, held.fence, 0, FAILURE) == "retrying"
    await store.upkeep.release_due()
    await store.claims.requeue(first[7:9])
    order = [*await popped(store), *await popped(store)]
    assert order == [*first[7:9], first[20], *made[40:]]
    await store.connection.command("DEL", f"{store.prefix}tree:{LANE}", f"{store.prefix}doubt")
    assert await store.upkeep.refill(LANE, push=True) != (0, 0, 0)
    order = await popped(store)
    assert len(order) == 100 and order == sorted(order, key=made.index), "when places were lost, too"


async def test_no_job_is_behind_the_steps_of_one_that_came_after_it(store: Store) -> None:
    """Ten trees of two levels and plain jobs in one lane, accepted by turns; whatever becomes free is taken at once."""
    jobs: list[str] = []
    trees: dict[str, int] = {}
    for number in range(10):
        jobs.append(await plain(store))
        root = await parent(store, model="leaf")
        jobs.append(root.id)
        made = await root.made("n:0", "n:1", "n:2")
        below = await (await claim(store, made[0].id)).made("n:x", "n:y")
        trees |= {each.id: number for each in [*made[1:], *below]}
    order: list[str] = []
    while got := await popped(store, 3):
        order += got
    number = -1
    for each in order:
        number = max(number, trees.get(each, number))
        assert each in trees or jobs.index(each) // 2 > number, "a plain job stood behind steps of a younger root"
    assert len([each for each in order if each in trees]) == 40 and len([each for each in order if each in jobs[::2]]) == 10


async def test_the_priority_of_the_root_comes_first(store: Store) -> None:
    low, high = await parent(store, priority=2), await parent(store, priority=8)
    (of_low,), five, (of_high,) = await low.made("n:a"), await plain(store), await high.made("n:a")
    assert await popped(store) == [of_high.id, five, of_low.id]


async def test_a_parent_that_goes_on_stands_before_all_that_came_after_it_and_before_its_steps(store: Store) -> None:
    job = await parent(store, model="leaf")
    await popped(store)
    later = await plain(store)
    first, *_ = await job.made("n:a", "n:b", "n:c")
    held = await claim(store, first.id)
    (deep,) = await held.made("n:deep", need=1)
    await held.let_go()
    await run(store, deep.id)
    await job.ask(need=1, seen=0)
    await job.let_go()
    order = await popped(store)
    assert order[0] == first.id and order[-1] == later and len(order) == 4


async def test_the_steps_of_a_job_that_was_delayed_stand_where_it_was_queued(store: Store) -> None:
    job = new_job(model="flow", delay=0.01)
    await store.records.submit(job)
    await asyncio.sleep(0.05)
    before = await plain(store)
    await store.upkeep.release_due()
    (step,) = await (await claim(store, job.id)).made("n:a")
    after = await plain(store)
    assert await popped(store) == [before, step.id, after]


async def test_steps_wait_in_their_lane_like_all(store: Store) -> None:
    job = await parent(store)
    made = await job.made("n:a", "n:b")
    assert {(await store.records.read(each.id, "t")).position for each in made} == {1, 2}


# -- tickets that are lost ---------------------------------------------------------------------------------------------------------


async def test_a_step_that_was_popped_and_not_claimed_is_pushed_again_where_it_was(store: Store) -> None:
    job = await parent(store)
    (step,), later = await job.made("n:a"), await plain(store)
    assert await popped(store, 1) == [step.id]
    assert await store.upkeep.republish(0) == 1
    assert await popped(store) == [step.id, later]
    await store.claims.requeue([step.id, later])
    assert await popped(store) == [step.id, later]


async def test_a_step_is_not_taken_for_overtaken(store: Store) -> None:
    job = await parent(store)
    await job.made("n:a")
    await asyncio.sleep(0.05)
    await claim(store, await plain(store))
    assert await store.upkeep.overtaken(LANE, 0.01) == 0


async def test_a_step_that_was_claimed_does_not_say_that_a_ticket_is_lost(store: Store) -> None:
    job = await parent(store)
    await plain(store)
    await asyncio.sleep(0.05)
    (step,) = await job.made("n:a")
    await claim(store, step.id)
    assert await store.upkeep.overtaken(LANE, 0.01) == 0


async def test_steps_whose_places_were_lost_get_them_back(store: Store) -> None:
    job = await parent(store)
    made = await job.made("n:a", "n:b")
    assert await store.upkeep.refill(LANE, push=True) == (0, 0, 0), "nothing is missing"
    await store.connection.command("DEL", f"{store.prefix}tree:{LANE}")
    assert await store.upkeep.refill(LANE, push=True) == (2, 0, 2)
    assert set(await popped(store)) == set(ids(made))


async def test_a_step_that_is_a_suspect_waits_for_its_runner_and_has_no_place(store: Store) -> None:
    job = await parent(store)
    (step,) = await job.made("n:a")
    assert await popped(store) == [step.id]
    held = await claim(store, step.id)
    assert await store.claims.hand_back(step.id, held.fence, "suspect", b"", "c-0.1") == "queued"
    assert await popped(store) == []
    assert [each.id for each in await store.claims.suspects("w", [LANE], 9)] == [step.id]


# -- ends ------------------------------------------------------------------------------------------------------------------------


async def family(store: Store) -> tuple[Parent, list[str]]:
    """A parent that sleeps; a child that sleeps, one that waits in a worker and one that is queued; the first two have a child each."""
    job = await parent(store)
    asleep, waits, queued = await job.made("n:a", "n:b", "n:c", need=1)
    held, other = await claim(store, asleep.id), await claim(store, waits.id)
    (below,) = await held.made("n:x", need=1)
    (under,) = await other.made("n:x", need=1)
    running = await claim(store, under.id, "x")
    assert await held.let_go() == "asleep" and await job.let_go() == "asleep"
    assert running.id == under.id
    return job, [asleep.id, below.id, waits.id, under.id, queued.id]


async def statuses(store: Store, job_ids: list[str]) -> list[str | None]:
    return [await field(store, each, "status") for each in job_ids]


async def test_a_parent_that_is_canceled_takes_its_whole_tree_with_it(store: Store) -> None:
    job, below = await family(store)
    assert (await store.records.cancel(job.id, "t")).value == "canceled"
    assert await reaped(store) > 0
    assert await statuses(store, below) == ["canceled", "canceled", "canceling", "canceling", "canceled"]
    for key in ("due", f"tree:{LANE}", f"wait:{LANE}"):
        assert await store.connection.command("ZCARD", f"{store.prefix}{key}") == 0


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
async def test_whatever_ends_a_parent_ends_its_open_steps(store: Store, outcome: str) -> None:
    job = await parent(store)
    done, running, queued = await job.made("n:a", "n:b", "n:c")
    await run(store, done.id)
    await claim(store, running.id)
    assert await job.finish(outcome) == outcome
    assert await reaped(store) > 0
    assert await statuses(store, ids([done, running, queued])) == ["succeeded", "canceling", "canceled"]


async def test_a_parent_all_whose_steps_have_ended_leaves_nothing_to_be_done(store: Store) -> None:
    job = await parent(store)
    (made,) = await job.made("n:a")
    await run(store, made.id)
    await job.finish()
    assert await store.steps.reap() == 0


async def test_from_the_cancel_on_no_step_of_the_tree_is_made(store: Store) -> None:
    job = await parent(store)
    (made,) = await job.made("n:a")
    held = await claim(store, made.id)
    assert (await store.records.cancel(job.id, "t")).value == "canceling"
    assert await job.ask("n:b") is None
    assert await held.ask("n:b") is None, "before the chore has come to it"
    assert await job.let_go() == "canceled"
    assert await held.ask("n:b") is None


async def test_a_step_that_nobody_can_join_does_not_begin(store: Store) -> None:
    job = await parent(store)
    (middle,) = await job.made("n:m")
    held = await claim(store, middle.id)
    (below,) = await held.made("n:a", need=1)
    await job.finish()
    assert await store.claims.claim(below.id, "n", "w", "cpu") is None, "before the chore has come to it"
    assert await statuses(store, [middle.id, below.id]) == ["waiting", "canceled"]


@pytest.mark.parametrize("over", ["finished", "canceled"])
async def test_a_step_of_a_tree_that_is_over_further_up_does_not_begin_and_asks_for_none(store: Store, over: str) -> None:
    root = await parent(store)
    (second,) = await root.made("n:2")
    held_second = await claim(store, second.id)
    (third,) = await held_second.made("n:3")
    held_third = await claim(store, third.id)
    fourth, other = await held_third.made("n:4", "n:5", need=1)
    held_fourth = await claim(store, fourth.id)
    if over == "finished":
        await held_second.finish()
    else:
        assert (await store.records.cancel(second.id, "t")).value == "canceling"
    # The chore has not come to the third yet, and the root goes on.
    assert await held_fourth.ask("n:6") is None
    assert await store.claims.claim(other.id, "n", "w", "cpu") is None
    assert await statuses(store, [root.id, third.id, other.id]) == ["running", "waiting", "canceled"]


async def test_a_parent_hears_that_its_child_alone_was_canceled(store: Store) -> None:
    job = await parent(store)
    (made,) = await job.made("n:a", need=1)
    await store.records.cancel(made.id, "t")
    told = await store.steps.resume(job.id, job.fence, 0, go=True)
    assert told is not None and [each.state for each in told.results] == ["canceled"]


async def test_a_wide_tree_is_stopped_by_pieces(store: Store) -> None:
    job = await parent(store)
    made = await job.made(*[child(f"n:{number}", mark="m" * 40) for number in range(450)])
    await store.claims.finish(job.id, job.fence, "failed", FAILURE)
    assert 3 <= await reaped(store) <= 12
    assert set(await statuses(store, ids(made))) == {"canceled"}
    assert await field(store, job.id, "reaped") is None


async def test_retry_of_a_step_keeps_its_place(store: Store) -> None:
    job = await parent(store)
    (step,) = await job.made(child("n:a", policy=Policy(max_attempts=2).to_json()))
    later = await plain(store)
    assert await popped(store, 1) == [step.id]
    held = await claim(store, step.id)
    await store.claims.retry_later(step.id, held.fence, 0, FAILURE)
    await store.upkeep.release_due()
    assert await popped(store) == [step.id, later]
