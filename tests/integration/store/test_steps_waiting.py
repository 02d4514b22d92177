"""A parent that waits for its steps, and its journal, on a real Valkey."""

from __future__ import annotations

import asyncio
import time

import orjson
import pytest
from tests.integration.store.families import Parent, claim, fence, field, parent, run, wait
from tests.integration.store.test_scripts import FAILURE

from longrun.jobs.flow import Flow
from longrun.jobs.policy import Policy
from longrun.store.steps import Sleep
from longrun.store.store import Store

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
