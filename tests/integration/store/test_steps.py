"""Steps of a parent, one question after the other, on a real Valkey."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import orjson
import pytest
from tests.integration.store.families import Parent, child, claim, fence, field, ids, parent, run
from tests.integration.store.test_fence import contents
from tests.integration.store.test_files import new_ref
from tests.integration.store.test_scripts import FAILURE

from longrun.jobs.flow import Flow
from longrun.jobs.policy import Policy
from longrun.settings import Settings
from longrun.store.steps import OldFormat, Result, SignalWait, Sleep, StillStops, Terms
from longrun.store.store import Store


def wait(name: str, seconds: float = 100) -> SignalWait:
    return SignalWait(f"s:{name}", "m", name, seconds, b'{"draft":1}', b'{"type":"object"}')


async def signal(store: Store, of: Parent, name: str, value: bytes) -> None:
    """What an early signal leaves; one that ends an open wait is the business of signal.lua."""
    await store.connection.command("HSET", f"{store.prefix}steps:{of.id}", f"v:{name}", value)


def states(results: Sequence[object]) -> list[str]:
    return [getattr(result, "state") for result in results]  # noqa: B009


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


# -- waiting -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "while it waits", "after it was let go"])
async def test_a_parent_goes_on_when_its_last_step_has_ended_whenever_that_is(store: Store, when: str) -> None:
    job = await parent(store)
    made = await job.made("n:a", "n:b")
    await run(store, made[0].id)
    if when == "before":
        await run(store, made[1].id)
    answer = await job.ask(seen=0, need=2)
    assert answer is not None and answer.waits == (when != "before")
    if when == "after it was let go":
        assert await job.let_go() == "asleep"
    if when != "before":
        assert await field(store, job.id, "status") == ("asleep" if "let go" in when else "waiting")
        await run(store, made[1].id)
    if when == "while it waits":
        assert await store.claims.heartbeat([(job.id, job.fence)], 1) == [3]
        assert await job.finish() is None, "it waits: what its code does now nobody has accounted for"
    if when == "after it was let go":
        job = await claim(store, job.id)
        assert job.claim.flow is not None and job.claim.flow.journal
    told = await store.steps.resume(job.id, job.fence, 0, go=True)
    assert told is not None and [result.key for result in told.results] == ["n:a", "n:b"] and (told.ended, told.waits) == (2, False)
    assert await field(store, job.id, "status") == "running"
    assert await job.finish() == "succeeded"


async def test_a_worker_hears_that_its_parent_can_go_on_and_not_before(store: Store) -> None:
    job = await parent(store)
    made = await job.made("n:a", "n:b", "n:c")
    async with store.follower.listen(store.worker_channel("w")) as commands:
        await job.ask(seen=0, need=2)
        await run(store, made[0].id)
        assert await store.claims.heartbeat([(job.id, job.fence)], 1) == [1]
        await store.connection.command("PUBLISH", store.worker_channel("w"), "mark")
        await run(store, made[1].id)
        heard: list[bytes] = []
        while len(heard) < 2:
            heard += await commands.wait(30)
    assert heard == [b"mark", f"step {job.id}".encode()]


async def test_one_that_was_let_go_goes_on_where_it_was(store: Store) -> None:
    job = await parent(store)
    await store.claims.append(job.id, job.fence, 0, b'{"fraction":0.5}', [("log", b"{}")])
    (made,) = await job.made("n:a", need=1)
    assert made.state == "pending"
    assert await job.let_go(ran=1500, usage=b'{"tokens":3}') == "asleep"
    assert await job.let_go(ran=1500, usage=b'{"tokens":3}') == "asleep", "sent twice"
    assert await store.claims.heartbeat([(job.id, job.fence)], 1) == [0]
    await run(store, made.id)
    assert await job.let_go() == "queued", "its own, sent once more"
    again = await claim(store, job.id)
    assert again.claim.flow == Flow(ran_ms=1500, journal=True)
    attempts = await store.records.attempts(job.id, "t")
    assert [(each.outcome, each.usage) for each in attempts] == [("waited", {"tokens": 3}), (None, None)]
    started = [orjson.loads(data)["resumed"] for data in await again.events("started")]
    assert started == [False, True]
    assert await again.field("progress") == '{"fraction":0.5}'
    assert await again.finish(usage=b'{"tokens":4}') == "succeeded"
    assert orjson.loads(await again.field("usage") or "") == {"tokens": 7}


async def test_one_that_is_let_go_when_its_step_has_ended_is_queued(store: Store) -> None:
    job = await parent(store)
    (made,) = await job.made("n:a", need=1)
    await run(store, made.id)
    assert await job.let_go() == "queued"


async def test_of_one_that_does_not_wait_letting_go_is_giving_it_back(store: Store) -> None:
    job = await parent(store)
    await job.made("n:a")
    assert await job.let_go() == "queued"
    job = await claim(store, job.id)
    await job.ask("n:a", need=1)
    await store.records.cancel(job.id, "t")
    assert await job.let_go() == "canceled"
    assert await store.steps.let_go([(job.id, fence(9), 0, b"")]) == [None]


@pytest.mark.parametrize("death", ["report_lost", "hand_back"])
async def test_nobody_is_blamed_for_a_worker_that_dies_while_its_parents_wait(store: Store, death: str) -> None:
    job = await parent(store, Policy(max_crashes=1))
    (made,) = await job.made("n:a", need=1)
    if death == "report_lost":
        assert await store.upkeep.report_lost("w") == {job.id: "asleep"}
    else:
        assert await store.claims.hand_back(job.id, job.fence, "crash", FAILURE) == "asleep"
    assert await job.field("crashes") is None
    await run(store, made.id)
    job = await claim(store, job.id)
    await job.ask("n:b", need=1)
    assert await store.steps.resume(job.id, job.fence, 0, go=True) is not None
    assert await store.upkeep.report_lost("w") == {job.id: "failed"}, "now its code had run"


async def test_a_lease_that_runs_out_while_a_parent_waits_leaves_it_asleep(store: Store) -> None:
    job = await parent(store)
    await job.made("n:a", need=1)
    await store.connection.command("ZADD", f"{store.prefix}lease", 1, job.id)
    await store.connection.command("SET", f"{store.prefix}swept", 10**15)
    assert await store.upkeep.sweep() == {job.id: "asleep"}


async def test_what_is_not_to_be_done_twice_does_not_sleep(store: Store) -> None:
    job = await parent(store, Policy(delivery="at_most_once"))
    (made,) = await job.made("n:a", need=1)
    assert await store.upkeep.report_lost("w") == {job.id: "failed"}
    assert orjson.loads(await job.field("error") or "")["code"] == "outcome-unknown"
    assert await store.steps.reap() > 0
    assert await field(store, made.id, "status") == "canceled"


async def test_a_parent_that_sleeps_past_its_total_time_expires_and_its_steps_stop(store: Store) -> None:
    job = await parent(store, Policy(total_timeout=0.05))
    (made,) = await job.made("n:a", need=1)
    assert await job.let_go() == "asleep"
    await asyncio.sleep(0.1)
    await store.upkeep.release_due()
    assert await field(store, job.id, "status") == "expired"
    assert await store.steps.reap() > 0
    assert await field(store, made.id, "status") == "canceled"


# -- the journal ---------------------------------------------------------------------------------------------------------------


async def test_of_local_results_the_first_counts(store: Store) -> None:
    job = await parent(store)
    entries = await store.steps.journal(job.id, job.fence, [("l:a", b"d m 1"), ("l:b", b'f m {"code":"x"}'), ("u:n:old", b"1")])
    assert entries is not None
    kind, epoch, at, mark, value = entries[0].split(b" ")
    assert (kind, epoch, mark, value) == (b"d", b"0", b"m", b"1") and abs(int(at) / 1000 - time.time()) < 3600
    assert await store.steps.journal(job.id, job.fence, [("l:a", b"d m 2"), ("l:b", b"d m 2")]) == entries[:2]
    assert await store.steps.history(job.id, job.fence) == ({"l:a": entries[0], "l:b": entries[1], "u:n:old": b"0"}, [])


async def test_a_mark_that_a_step_was_not_used_says_what_that_has_cost(store: Store) -> None:
    job = await parent(store)
    (made,) = await job.made("n:old")
    await run(store, made.id, usage=b'{"cost_usd":0.5}')
    marks = [("u:n:old", b"1"), ("u:l:old", b"1"), ("u:n:nobody", b"1")]
    assert await store.steps.journal(job.id, job.fence, marks) == [b'{"cost_usd":0.5}', b"1", b"1"]


async def test_what_is_done_once_is_begun_once_and_a_person_may_have_it_done_again(store: Store) -> None:
    job = await parent(store, Policy(max_attempts=5))

    async def entry(of: Parent, text: bytes) -> tuple[bytes, bytes]:
        found = await store.steps.journal(of.id, of.fence, [("l:pay", text)])
        assert found is not None
        return found[0][:1], found[0].rpartition(b" ")[2]

    assert await entry(job, b"b m 1") == (b"b", b"1")
    assert await entry(job, b"b m 1") == (b"b", b"1")
    await store.claims.retry_later(job.id, job.fence, 0, FAILURE)
    await store.upkeep.release_due()
    job = await claim(store, job.id)
    assert await entry(job, b"b m 2") == (b"b", b"1"), "nobody knows whether the first attempt did it"
    assert await entry(job, b"d m 7") == (b"b", b"1")
    await store.connection.command("HSET", f"{store.prefix}job:{job.id}", "again", 1)
    assert await entry(job, b"b m 2") == (b"b", b"2")
    assert await entry(job, b"d m 7") == (b"d", b"7")
    assert await entry(job, b"b m 2") == (b"d", b"7")


async def test_the_losers_of_a_race_stop_in_the_script_that_journals_the_winner(store: Store) -> None:
    job = await parent(store)
    a, b, c = await job.made("n:a", "n:b", "n:c")
    running = await claim(store, b.id)
    await run(store, a.id)
    assert await store.steps.journal(job.id, job.fence, [("first:x", b"d m 0")], stop=["n:b", "n:c"]) is not None
    assert [await field(store, each.id, "status") for each in (a, b, c)] == ["succeeded", "canceling", "canceled"]
    assert await store.claims.heartbeat([(b.id, running.fence)], 1) == [2]
    (d,) = await job.made("n:d")
    assert await store.steps.journal(job.id, job.fence, [("first:x", b"d m 1")], stop=["n:d"]) is not None
    assert await field(store, d.id, "status") == "queued", "another had won"


async def test_a_step_whose_await_was_given_up_stops_and_is_marked_for_this_epoch(store: Store) -> None:
    job = await parent(store, Policy(max_attempts=3))
    a, *_ = await job.made("n:a", "n:b", Sleep("z:9:1", "m", 9), wait("ok"))
    assert await store.steps.drop(job.id, job.fence, ["n:a", "z:9:1", "s:ok", "n:nothing"])
    assert await field(store, a.id, "status") == "canceled" and await job.field("asks") is None
    found = await store.steps.history(job.id, job.fence)
    assert found is not None
    fields, ends = found
    assert {name for name in fields if name.startswith("x:")} == {"x:n:a", "x:z:9:1", "x:s:ok"} and ends == ["n:a"]
    await store.claims.retry_later(job.id, job.fence, 0, FAILURE)
    await store.upkeep.release_due()
    job = await claim(store, job.id)
    found = await store.steps.history(job.id, job.fence)
    assert found is not None and not [name for name in found[0] if name.startswith("x:")]
    assert (await job.made("n:a"))[0].id != a.id


async def test_a_long_history_comes_by_pieces_and_whole(store: Store) -> None:
    job = await parent(store)
    entries = [(f"l:{number}", b"d m 1") for number in range(2500)]
    for at in range(0, len(entries), 100):
        await store.steps.journal(job.id, job.fence, entries[at : at + 100])
    await store.connection.command("RPUSH", f"{store.prefix}ends:{job.id}", *[f"n:{number}" for number in range(2000)])
    found = await store.steps.history(job.id, job.fence)
    assert found is not None
    assert found[0].keys() == dict(entries).keys() and found[1] == [f"n:{number}" for number in range(2000)]


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
