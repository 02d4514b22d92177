"""Steps of a parent, one question after the other, on a real Valkey."""

from __future__ import annotations

import asyncio

import orjson
from tests.integration.store.families import Parent, child, claim, field, ids, parent, run, states
from tests.integration.store.test_fence import contents
from tests.integration.store.test_files import new_ref
from tests.integration.store.test_scripts import FAILURE

from longrun.jobs.policy import Policy
from longrun.settings import Settings
from longrun.store.steps import OldFormat, Result, Sleep, Terms
from longrun.store.store import Store

# -- children ----------------------------------------------------------------------------------------------------------------


async def test_a_step_that_is_asked_for_again_is_the_same_job_whoever_asks_and_however_often(store: Store) -> None:
    job = await parent(store)
    first = await job.made("n:a", "n:b")
    held = await contents(store)
    again = await job.made("n:a", "n:b", "n:a")
    assert ids(again) == [*ids(first), first[0].id] and states(again) == ["pending"] * 3
    assert await contents(store) == held, "nothing is made again"
    await run(store, first[0].id, usage=b'{"cost_usd":0.5}')
    await store.claims.hand_back(job.id, job.fence, "crash")
    later = await (await claim(store, job.id)).made("n:b", "n:a")
    assert [(result.id, result.state, result.data) for result in later] == [(first[1].id, "pending", b""), (first[0].id, "succeeded", b"7")]
    assert later[1].usage == b'{"cost_usd":0.5}'


async def test_a_child_stands_for_its_parent_in_all_that_is_inherited(store: Store) -> None:
    job = await parent(store, priority=8, tags=b'["x"]')
    (made,) = await job.made(child("n:a", stream=True))
    assert made.id[:16] == job.id[:16] and len(made.id) == len(job.id)
    record = await store.records.read(made.id, "t")
    assert (record.tenant, record.priority, record.tags, record.model, record.queue) == ("t", 8, b'["x"]', "leaf", "gpu")
    inherited = {name: await field(store, made.id, name) for name in ("parent", "root", "step", "depth", "stream", "shown")}
    assert inherited == {"parent": job.id, "root": job.id, "step": "n:a", "depth": "1", "stream": "1", "shown": "1"}
    assert job.claim.flow is None
    flow = (await claim(store, made.id)).claim.flow
    assert flow is not None and flow.child and not flow.journal and (flow.epoch, flow.again, flow.ran_ms) == (0, 0, 0)
    grandchild = (await Parent(store, (await claim_of(store, made.id))).made("n:a"))[0]
    assert await field(store, grandchild.id, "root") == job.id and await field(store, grandchild.id, "depth") == "2"


async def claim_of(store: Store, job_id: str) -> object:
    """The claim that has it, once more."""
    return await store.claims.claim(job_id, "w-1", "w", "cpu")


async def test_children_are_no_roots(store: Store) -> None:
    hook = {"url": "https://example.com/a", "description": "", "secret": "whsec_1", "events": ["job.started", "job.retrying", "job.failed"]}
    job = await parent(store)
    await store.webhooks.add_endpoint("t", "we_1", hook)
    (made,) = await job.made(child("n:a", policy=Policy(max_attempts=2, retain_for=0).to_json()))
    held = await claim(store, made.id)
    await store.claims.retry_later(made.id, held.fence, 0, FAILURE)
    await store.upkeep.release_due()
    await run(store, made.id, outcome="failed")
    deliveries, _ = await store.webhooks.deliveries("t", cursor=None, look_at=100, filters={})
    assert deliveries == []
    listed = await store.records.list("t", cursor=None, look_at=100, since=0, filters=[])
    assert [record.id for record in listed.jobs] == [job.id]
    assert await store.connection.command("ZCARD", f"{store.prefix}dead:t") == 0
    assert (await store.records.read(made.id, "t")).expires is None


async def test_what_a_child_has_used_goes_up_to_its_root_at_once_and_to_its_parents_as_they_end(store: Store) -> None:
    job = await parent(store)
    (middle,) = await job.made("n:m")
    held = await claim(store, middle.id)
    leaves = await held.made("n:a", "n:b")
    for leaf in leaves:
        await run(store, leaf.id, usage=b'{"cost_usd":1}')
    assert orjson.loads(await job.field("tree_usage") or "") == {"cost_usd": 2}
    await held.finish(usage=b'{"cost_usd":0.5}')
    assert orjson.loads(await job.field("tree_usage") or "") == {"cost_usd": 2.5}
    (told,) = await job.made("n:m")
    assert orjson.loads(told.usage) == {"cost_usd": 2.5}


async def test_a_large_input_of_a_step_is_kept_until_it_has_succeeded(store: Store) -> None:
    job = await parent(store)
    large = b'"' + b"x" * 5000 + b'"'
    good, bad, small = await job.made(child("n:a", input=large), child("n:b", input=large), "n:c")
    await run(store, good.id, small.id)
    await run(store, bad.id, outcome="failed")
    assert [await field(store, each.id, "input") is None for each in (good, bad, small)] == [True, False, False]


async def test_a_parent_and_its_children_say_one_idempotency_key_for_a_step_in_all_attempts(store: Store) -> None:
    job = await parent(store)
    (made,) = await job.made("n:a")
    flow = (await claim(store, made.id)).claim.flow
    assert flow is not None and flow.origin.startswith("key_") and len(flow.origin) == 44


async def test_a_detached_job_is_a_root_and_its_id_the_result(store: Store) -> None:
    job = await parent(store, tags=b'["x"]')
    (made,) = await job.made(child("n:d", detached=True))
    other = orjson.loads(made.data)
    assert made.state == "succeeded" and made.id == ""
    assert (await job.made(child("n:d", detached=True)))[0] == made
    assert await field(store, other, "parent") is None
    assert {each.id for each in (await store.records.list("t", cursor=None, look_at=9, since=0, filters=[])).jobs} == {job.id, other}
    await job.finish()
    assert await store.steps.reap() == 0
    await run(store, other)


async def test_a_detached_job_is_refused_where_a_submit_is(valkey_url: str, settings: Settings, store: Store) -> None:
    small = Store(valkey_url, settings.model_copy(update={"max_queued": 1}), "@ID@")
    job = await parent(small)
    await job.made("n:a", child("n:b", detached=True))
    assert (await job.refusal(child("n:c", detached=True)))[0] == "queue-full"
    await job.made("n:e", "n:f")
    await small.close()


async def test_no_step_gets_a_file_that_is_not_there_or_another_tenants(store: Store) -> None:
    job = await parent(store)
    mine, other, deleted = new_ref(), new_ref(), new_ref()
    for ref, tenant in ((mine, "t"), (other, "other"), (deleted, "t")):
        await store.files.add(tenant, ref, keep=100)
    await store.files.delete(deleted.id, "t")
    before = await contents(store)
    for ref in (other, deleted, new_ref()):
        files = orjson.dumps({mine.id: mine.members(), ref.id: ref.members()})
        assert (await job.refusal("n:a", child("n:b", files=files)))[0] == "file-not-found"
    assert await contents(store) == before
    (made,) = await job.made(child("n:b", files=orjson.dumps({mine.id: mine.members()})))
    assert await store.connection.command("SMEMBERS", f"{store.prefix}needs:{mine.id}") == [made.id.encode()]


async def test_a_parent_gets_the_files_of_its_tenant_and_no_others(store: Store) -> None:
    job = await parent(store)
    mine, other, deleted = new_ref(), new_ref(), new_ref()
    for ref, tenant in ((mine, "t"), (other, "other"), (deleted, "t")):
        await store.files.add(tenant, ref, keep=100)
    await store.files.delete(deleted.id, "t")
    found = await store.steps.files(job.id, job.fence, [mine.id, other.id, deleted.id, new_ref().id])
    assert found == [mine]


async def test_data_of_before_there_were_steps_take_none(store: Store) -> None:
    job = await parent(store)
    store.connection.use_format(1)
    before = await contents(store)
    refusals = await asyncio.gather(job.ask("n:a", need=1), return_exceptions=True)
    assert isinstance(refusals[0], OldFormat)
    assert await contents(store) == before


async def test_more_than_one_reply_holds_is_fetched_by_more_of_them(store: Store) -> None:
    job = await parent(store)
    keys = [f"n:{number}" for number in range(130)]
    made = await job.made(*keys)
    assert len({result.id for result in made}) == 130
    large = b'"' + b"y" * 30_000 + b'"'
    for result in made:
        await run(store, result.id, data=large)
    assert {result.data for result in await job.made(*keys)} == {large}
    results: list[Result] = []
    more = True
    while more:
        answer = await store.steps.resume(job.id, job.fence, len(results), go=False)
        assert answer is not None and sum(len(result.data) for result in answer.results) < 1_100_000
        results, more = results + answer.results, answer.more
        assert answer.ended == len(results)
    assert [result.key for result in results] == keys and {result.data for result in results} == {large}


# -- limits ------------------------------------------------------------------------------------------------------------------


async def test_a_tree_has_so_many_jobs_whoever_of_it_asks(store: Store) -> None:
    job, terms = await parent(store), Terms(tree=4)
    (middle,) = await job.made("n:a", terms=terms)
    held = await claim(store, middle.id)
    await held.made("n:a", "n:b", terms=Terms(tree=1000))
    before = await contents(store)
    assert (await held.refusal("n:a", "n:c", "n:d", terms=Terms(tree=1000)))[0] == "too-many-steps"
    assert await contents(store) == before
    await job.made("n:b", "n:a", terms=Terms(tree=1000))
    assert (await job.refusal("n:c"))[0] == "too-many-steps"
    assert await job.field("tree") == "4"
    assert len(await job.made(Sleep("z:1:1", "m", 1))) == 1, "a sleep is no job"


async def test_steps_of_steps_are_so_deep(store: Store) -> None:
    job, terms = await parent(store), Terms(depth=2)
    for _ in range(2):
        (made,) = await job.made("n:a", terms=terms)
        job = await claim(store, made.id)
    assert (await job.refusal("n:a", terms=Terms(depth=10)))[0] == "too-many-steps"


async def test_a_budget_is_for_all_that_the_tree_has_used(store: Store) -> None:
    job, terms = await parent(store), Terms(budget=b'{"cost_usd":1}')
    spender, middle = await job.made("n:a", "n:m", terms=terms)
    held = await claim(store, middle.id)
    await held.made("n:x")
    await run(store, spender.id, usage=b'{"cost_usd":1.2,"tokens":5}')
    for asking in (job, held):
        code, detail = await asking.refusal("n:y")
        assert code == "over-budget" and "1.2" in detail
    assert (await job.made("n:a"))[0].state == "succeeded", "what was paid for is answered"
