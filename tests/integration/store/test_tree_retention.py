"""How long jobs of a tree are kept, who erases them, and what a retry of the whole takes over."""

from __future__ import annotations

import orjson
import pytest
from tests.integration.store.test_files import made_by, state, told
from tests.integration.store.test_scripts import FAILURE, submit
from tests.integration.store.trees import MARK, ask, bury_all, call, child, claim, end, entry, field, parent, pass_time, still_stops

from longrun.clock import new_job_id
from longrun.errors import JobGone, NotARoot
from longrun.jobs.policy import Policy
from longrun.jobs.states import Status
from longrun.store.claims import Claim
from longrun.store.steps import Sleep
from longrun.store.store import Store
from longrun.store.upkeep import MOST


async def is_there(store: Store, job_id: str) -> bool:
    try:
        await store.records.read(job_id, "t")
    except JobGone:
        return False
    return True


async def has(store: Store, kind: str, job_id: str) -> bool:
    return bool(await store.connection.command("EXISTS", f"{store.prefix}{kind}:{job_id}"))


async def expire_all(store: Store) -> None:
    while await store.upkeep.expire():
        pass


async def look_at(store: Store, job_id: str) -> None:
    """The chore looks at it now."""
    await store.connection.command("ZADD", f"{store.prefix}expire", 1, job_id)
    await expire_all(store)


async def failed_tree(store: Store, policy: Policy | None = None) -> tuple[str, str, str]:
    """A root that failed after its first step: it, the step that succeeded and the one that did not."""
    held = await parent(store, policy)
    paid, failed = [await child(store, held, key) for key in ("n:paid", "n:failed")]
    await end(store, paid)
    await end(store, failed, "failed", FAILURE)
    await end(store, held.id, "failed", FAILURE, held)
    return held.id, paid, failed


# -- one root for all --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["retry", "delete"])
async def test_a_child_is_not_retried_or_deleted_alone_and_its_root_is_named(store: Store, verb: str) -> None:
    root, _, failed = await failed_tree(store)
    with pytest.raises(NotARoot, match=root) as caught:
        await (store.records.resubmit(failed, "t", new_job_id()) if verb == "retry" else store.records.delete(failed, "t"))
    assert caught.value.extra == {"root": root}
    assert await is_there(store, failed)


async def test_a_child_is_canceled_alone(store: Store) -> None:
    held = await parent(store)
    job_id = await child(store, held, "n:a")
    assert await store.records.cancel(job_id, "t") is Status.CANCELED
    assert (await store.records.read(held.id, "t")).status is Status.RUNNING


async def test_a_child_stays_as_long_as_its_root_whatever_its_own_time_says(store: Store) -> None:
    held = await parent(store)
    inner = await claim(store, await child(store, held, "n:a", policy=Policy(retain_for=0)))
    deep = await child(store, inner, "n:b", policy=Policy(retain_for=0))
    await end(store, deep)
    await end(store, inner.id, held=inner)
    for job_id in (inner.id, deep):
        await look_at(store, job_id)
        assert (await store.records.read(job_id, "t")).output == b'"x"', "its root goes on"
    await end(store, held.id, held=held)
    for job_id in (inner.id, deep):
        await look_at(store, job_id)
        assert (await store.records.read(job_id, "t")).output == b'"x"', "its root is kept"


async def test_with_its_root_each_child_is_gone_at_once_and_a_chore_erases_them(store: Store) -> None:
    held = await parent(store)
    inner = await claim(store, await child(store, held, "n:a"))
    jobs = [await child(store, inner, f"n:{n}") for n in range(3)]
    for job_id in jobs:
        await end(store, job_id)
    await end(store, inner.id, held=inner)
    await end(store, held.id, held=held)
    await store.records.delete(held.id, "t")
    for job_id in (inner.id, *jobs):
        assert not await is_there(store, job_id)
        assert await field(store, job_id, "output") == b'"x"', "no chore has been there yet"
    await bury_all(store)
    for job_id in (held.id, inner.id, *jobs):
        assert await field(store, job_id, "output") is None and await field(store, job_id, "gone") == b"1"
        assert not await has(store, "steps", job_id) and not await has(store, "ends", job_id) and not await has(store, "ev", job_id)


async def test_a_chore_erases_about_a_hundred_a_script(store: Store) -> None:
    held = await parent(store)
    jobs = [await child(store, held, f"n:{n:060}") for n in range(3 * MOST)]
    run = store.connection.command
    for job_id in jobs:
        await run("HSET", f"{store.prefix}job:{job_id}", "status", "succeeded")
    # As a journal of thousands is kept.
    await entry(store, held.id, "l:long", f"d 0 1 {MARK} {'x' * 1000}")
    await end(store, held.id, held=held)
    await store.records.delete(held.id, "t")
    before = 0
    while looked_at := await store.upkeep.bury():
        gone = sum([await field(store, job_id, "gone") is not None for job_id in jobs])
        assert gone - before <= looked_at < 2 * MOST
        before = gone
    assert before == len(jobs)


async def test_what_still_runs_when_its_root_goes_is_stopped_and_then_erased(store: Store) -> None:
    held = await parent(store)
    running, waiting = await claim(store, await child(store, held, "n:a")), await child(store, held, "n:b")
    await end(store, held.id, held=held)
    await store.records.delete(held.id, "t")
    assert not await is_there(store, running.id)
    await store.upkeep.bury()
    assert await store.claims.heartbeat([(running.id, running.fence)], 1) == [2]
    assert await field(store, waiting, "status") == b"canceled"
    assert await has(store, "steps", held.id), "the way to it"
    assert await store.claims.finish(running.id, running.fence, "failed", FAILURE) == "canceled"
    await store.connection.command("ZADD", f"{store.prefix}bury", 1, held.id)
    await bury_all(store)
    assert [await field(store, each, "gone") for each in (running.id, waiting)] == [b"1", b"1"]
    assert not await has(store, "steps", held.id)


async def test_when_the_time_of_a_root_is_over_all_of_it_goes(store: Store) -> None:
    root, paid, failed = await failed_tree(store)
    await pass_time(store, root)
    assert not await is_there(store, paid), "no chore has been there yet"
    await expire_all(store)
    await bury_all(store)
    assert [await field(store, each, "gone") for each in (root, paid, failed)] == [b"1"] * 3


async def test_a_child_whose_root_went_without_a_trace_goes_too(store: Store) -> None:
    """A store that has lost its last second may have forgotten the root."""
    root, paid, _ = await failed_tree(store)
    await store.connection.command("DEL", f"{store.prefix}job:{root}", f"{store.prefix}steps:{root}")
    assert not await is_there(store, paid)
    await look_at(store, paid)
    assert await field(store, paid, "gone") == b"1"


async def test_data_of_all_go_with_those_of_a_root_that_keeps_none(store: Store) -> None:
    root, paid, failed = await failed_tree(store, Policy(retain_for=0))
    await entry(store, root, "l:a", f'd 0 1 {MARK} "secret"')
    await store.connection.command("HSET", f"{store.prefix}steps:{root}", "v:ok", '"secret"')
    await look_at(store, paid)
    assert await field(store, paid, "output") == b'"x"', "those of the root are there yet"
    await look_at(store, root)
    await bury_all(store)
    job = await store.records.read(paid, "t")
    assert (job.status, job.output) == (Status.SUCCEEDED, None)
    assert (await store.records.read(failed, "t")).error is not None, "status and error stay as long as those of the root"
    assert b"secret" not in b"".join(await store.connection.command("HVALS", f"{store.prefix}steps:{root}"))
    assert len((await store.trees.page(root, "t", "", 100)).nodes) == 3


async def test_a_file_of_a_child_lives_as_long_as_its_root(store: Store) -> None:
    """The output of the root may name it."""
    held = await parent(store)
    inner = await claim(store, await child(store, held, "n:a", policy=Policy(retain_for=0)))
    ref = made_by(inner.id, inner.fence)
    assert await store.claims.append(inner.id, inner.fence, 0, b"", told(ref))
    await end(store, inner.id, held=inner)
    await end(store, held.id, "succeeded", orjson.dumps({"file": ref.members()}), held)
    await look_at(store, inner.id)
    assert (await store.files.read(ref.id, "t")).ref == ref
    await store.records.delete(held.id, "t")
    await bury_all(store)
    assert await state(store, ref) == "file-gone"


# -- a retry of the whole ----------------------------------------------------------------------------------------------------


async def test_a_retry_takes_the_journal_over_and_makes_nothing_of_it(store: Store) -> None:
    root, paid, failed = await failed_tree(store)
    fresh = await store.records.resubmit(root, "t", new_job_id())
    assert await store.records.resubmit(root, "t", new_job_id()) == fresh
    journal, ends = [await store.connection.command("DUMP", f"{store.prefix}{kind}:{root}") for kind in ("steps", "ends")]
    assert await store.connection.command("DUMP", f"{store.prefix}steps:{fresh}") == journal
    assert await store.connection.command("DUMP", f"{store.prefix}ends:{fresh}") == ends
    fields = [await field(store, fresh, name) for name in ("epoch", "again", "origin", "kids", "flow", "tree")]
    assert fields == [b"1", b"1", root.encode(), b"2", b"1", None], "what was made is counted anew"
    assert {node.id for node in (await store.trees.page(fresh, "t", "", 100)).nodes} == {failed, paid}


async def test_what_names_a_job_to_its_providers_is_the_first_of_the_chain(store: Store) -> None:
    """Also when it died before it had journaled anything: that first call may have been paid."""
    first = await parent(store)
    await end(store, first.id, "failed", FAILURE, first)
    second = await claim(store, await store.records.resubmit(first.id, "t", new_job_id()))
    await end(store, second.id, "failed", FAILURE, second)
    third = await store.records.resubmit(second.id, "t", new_job_id())
    assert await field(store, third, "origin") == first.id.encode()
    assert not await has(store, "steps", third)


async def test_finished_steps_live_as_long_as_the_retry_that_has_taken_them_over(store: Store) -> None:
    root, paid, _ = await failed_tree(store)
    fresh = await store.records.resubmit(root, "t", new_job_id())
    again = await claim(store, fresh)
    await end(store, fresh, "failed", FAILURE, again)
    last = await store.records.resubmit(fresh, "t", new_job_id())
    for gone in (root, fresh):
        await pass_time(store, gone)
        await expire_all(store)
        await bury_all(store)
        await look_at(store, paid)
        assert not await is_there(store, gone) and await is_there(store, paid)
        assert not await has(store, "steps", gone)
    # However long it runs: nobody could tell whose children they are without the tombstones of those before it.
    ttls = [await store.connection.command("PTTL", f"{store.prefix}job:{gone}") for gone in (root, fresh)]
    assert ttls == [-1, -1]
    with pytest.raises(NotARoot, match=last):
        await store.records.delete(paid, "t")
    held = await claim(store, last)
    await end(store, last, held=held)
    await store.records.delete(last, "t")
    assert not await is_there(store, paid)
    await bury_all(store)
    assert await field(store, paid, "gone") == b"1"
    ttls = [await store.connection.command("PTTL", f"{store.prefix}job:{gone}") for gone in (root, fresh, last, paid)]
    assert min(ttls) > 0, "no tombstone stays for ever"


async def test_with_a_retry_its_own_children_go_and_those_of_the_first_stay(store: Store) -> None:
    root, paid, _ = await failed_tree(store)
    fresh = await claim(store, await store.records.resubmit(root, "t", new_job_id()))
    own = await child(store, fresh, "n:failed")
    await end(store, own)
    await end(store, fresh.id, held=fresh)
    await store.records.delete(fresh.id, "t")
    await bury_all(store)
    assert (await is_there(store, own), await field(store, own, "gone")) == (False, b"1")
    assert await is_there(store, paid), "its own root is kept"


async def retried(store: Store, held: Claim) -> Claim:
    """The next attempt of a job after its own `Retry`."""
    assert await store.claims.retry_later(held.id, held.fence, 0, FAILURE) == "retrying"
    await store.connection.command("ZADD", f"{store.prefix}due", 1, held.id)
    await store.upkeep.release_due()
    return await claim(store, held.id)


async def test_a_child_that_was_made_anew_leads_to_the_one_before_it(store: Store) -> None:
    """The journal names the latest alone."""
    held = await parent(store, Policy(max_attempts=3))
    made = list[str]()
    for _ in range(3):
        made.append(await child(store, held, "n:a"))
        await end(store, made[-1], "failed", FAILURE)
        held = held if len(made) == 3 else await retried(store, held)
    assert len(set(made)) == 3
    await end(store, held.id, held=held)
    await store.records.delete(held.id, "t")
    await bury_all(store)
    assert [await field(store, each, "gone") for each in made] == [b"1"] * 3


async def test_a_retry_pays_for_what_had_not_succeeded_alone(store: Store) -> None:
    """Also when the time of the first is over, and chores are at each step of erasing it."""
    for chores in range(4):
        root, paid, failed = await failed_tree(store)
        fresh = await claim(store, await store.records.resubmit(root, "t", new_job_id()))
        if chores:
            await pass_time(store, root)
        for chore in (store.upkeep.expire, store.upkeep.bury, store.upkeep.bury)[:chores]:
            await chore()
        adopted, anew = await ask(store, fresh, call("n:paid"), call("n:failed"))
        assert (adopted.id, adopted.state, adopted.data) == (paid, "succeeded", b'"x"')
        assert (anew.state, anew.id != failed) == ("pending", True)
        assert fresh.flow is not None and (fresh.flow.origin, fresh.flow.again) == (root, 1)


@pytest.mark.parametrize("by", ["itself", "a caller"])
async def test_what_a_failed_step_had_finished_is_not_paid_again_by_the_one_made_anew(store: Store, by: str) -> None:
    held = await parent(store, Policy(max_attempts=2))
    inner = await claim(store, await child(store, held, "n:a"))
    deep = await child(store, inner, "n:deep")
    await end(store, deep)
    await end(store, inner.id, "failed", FAILURE, inner)
    if by == "itself":
        held = await retried(store, held)
    else:
        await end(store, held.id, "failed", FAILURE, held)
        held = await claim(store, await store.records.resubmit(held.id, "t", new_job_id()))
    anew = await claim(store, await child(store, held, "n:a"))
    assert anew.id != inner.id and anew.flow is not None and anew.flow.journal
    (result,) = await ask(store, anew, call("n:deep"))
    assert (result.id, result.state) == (deep, "succeeded")
    origins = {await field(store, each, "origin") for each in (inner.id, anew.id)}
    assert len(origins) == 1, "to the provider both are one"
    await end(store, anew.id, held=anew)
    await end(store, held.id, held=held)
    assert not [each for each in (deep, anew.id) if not await is_there(store, each)]


async def test_what_was_open_when_the_first_ended_is_stopped_with_it_and_made_anew(store: Store) -> None:
    """Its end would be counted in the first alone, and the retry would wait for ever."""
    held = await parent(store)
    running = await claim(store, await child(store, held, "n:a"))
    await end(store, held.id, "failed", FAILURE, held)
    fresh = await claim(store, await store.records.resubmit(held.id, "t", new_job_id()))
    assert await still_stops(store, fresh, call("n:a"))
    assert await store.claims.heartbeat([(running.id, running.fence)], 1) == [2]
    assert await store.claims.finish(running.id, running.fence, "failed", FAILURE, b"") == "canceled"
    (anew,) = await ask(store, fresh, call("n:a"), need=1)
    assert anew.id != running.id
    await end(store, anew.id)
    answer = await store.steps.resume(fresh.id, fresh.fence, 0, go=True)
    assert answer is not None and [result.key for result in answer.results] == ["n:a"]


async def test_a_sleep_goes_on_in_a_retry(store: Store) -> None:
    held = await parent(store)
    (before,) = await ask(store, held, Sleep("z:60:0", MARK, 60))
    await end(store, held.id, "failed", FAILURE, held)
    fresh = await claim(store, await store.records.resubmit(held.id, "t", new_job_id()))
    (after,) = await ask(store, fresh, Sleep("z:60:0", MARK, 60), need=1)
    assert after.due == before.due
    assert await store.connection.command("ZSCORE", f"{store.prefix}due", fresh.id) == b"%d" % before.due, "who wakes it knows"


async def test_a_root_that_is_an_item_keeps_its_children_as_long_as_its_batch(store: Store) -> None:
    held = await parent(store)
    run = store.connection.command
    await run("HSET", f"{store.prefix}job:{held.id}", "batch", "batch_1")
    await run("HSET", f"{store.prefix}batch:batch_1", "tenant", "t", "left", 5)
    job_id = await child(store, held, "n:a")
    await end(store, job_id)
    await end(store, held.id, held=held)
    await look_at(store, job_id)
    assert await is_there(store, job_id)
    await run("HSET", f"{store.prefix}batch:batch_1", "gone", 1)
    await look_at(store, held.id)
    await look_at(store, job_id)
    assert [await field(store, each, "gone") for each in (held.id, job_id)] == [b"1", b"1"]


async def test_a_plain_job_leaves_nothing_to_be_buried(store: Store) -> None:
    job_id = await submit(store)
    await store.records.cancel(job_id, "t")
    await store.records.delete(job_id, "t")
    assert await store.upkeep.bury() == 0
