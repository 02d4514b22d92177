"""Claims and ends of many jobs in one script: each is answered on its own, as if it had come alone."""

from __future__ import annotations

import pytest
from tests.integration.store.test_scripts import FAILURE, claimed, status, submit, tickets
from tests.integration.store.test_webhooks import ENDS

from longrun.clock import new_job_id
from longrun.errors import LongrunError
from longrun.jobs.policy import Policy
from longrun.store.claims import Claim, Ending
from longrun.store.connection import StoreError
from longrun.store.store import Store

HOOK = {"events": ENDS, "description": "", "secret": "whsec_1"}


async def claim_all(store: Store, ids: list[str], nonce: str = "n") -> list[Claim | None]:
    return await store.claims.claim_all(ids, nonce, "w", "cpu")


def done(job_id: str, fence: str = "1/n", output: bytes = b'"x"') -> Ending:
    return Ending(job_id, fence, "succeeded", output, b'{"run_s":0.5}')


async def scripts_run(store: Store) -> int:
    told = await store.connection.command("INFO", "commandstats")
    return int(told.split(b"cmdstat_evalsha:calls=")[1].split(b",")[0])


async def members(store: Store, key: str) -> set[str]:
    return {member.decode() for member in await store.connection.command("ZRANGE", store.prefix + key, 0, -1)}


async def broken(store: Store) -> str:
    """A job whose record makes the scripts fail."""
    job_id = await submit(store)
    await store.connection.command("HSET", f"{store.prefix}job:{job_id}", "hook", "no JSON")
    return job_id


async def test_of_many_claims_each_gets_its_own_answer(store: Store) -> None:
    ready, again = await submit(store), await submit(store, Policy(max_crashes=9))
    taken, ended, unknown = await claimed(store), await claimed(store), new_job_id()
    await claim_all(store, [again], "before")
    await store.claims.hand_back(again, "1/before", "crash")
    await store.claims.finish(ended, "1/n", "succeeded", b"1")
    claims = await claim_all(store, [taken, ready, ended, unknown, again], "now")
    assert [claim and (claim.id, claim.attempt) for claim in claims] == [None, (ready, 1), None, None, (again, 2)]
    assert await members(store, "lease") == {taken, ready, again}
    assert await members(store, "wait:gpu.m") == set()


async def test_many_claims_sent_twice_get_the_same_answers(store: Store) -> None:
    ids = [await submit(store) for _ in range(5)]
    first = await claim_all(store, ids, "one")
    assert None not in first
    assert await claim_all(store, ids, "one") == first
    assert await claim_all(store, ids, "two") == [None] * 5


async def test_a_claim_that_expired_on_its_way_expires_alone(store: Store) -> None:
    late, ready = await submit(store, Policy(start_within=0)), await submit(store)
    claims = await claim_all(store, [late, ready])
    assert [claim and claim.id for claim in claims] == [None, ready]
    assert [await status(store, job_id) for job_id in (late, ready)] == ["expired", "running"]


async def test_a_script_takes_a_hundred_jobs_at_most(store: Store) -> None:
    ids = [await submit(store) for _ in range(250)]
    before = await scripts_run(store)
    assert [claim.id for claim in await claim_all(store, ids) if claim] == ids
    assert await scripts_run(store) - before == 3
    assert await store.claims.finish_all([done(job_id) for job_id in ids]) == ["succeeded"] * 250
    assert await scripts_run(store) - before == 6
    assert (await store.records.overview())[1]["m:succeeded"] == 250
    assert (await members(store, "lease"), await members(store, "expire")) == (set(), set(ids))


async def test_of_many_ends_each_gets_its_own_answer(store: Store) -> None:
    fresh, stale, twice, unknown = await claimed(store), await claimed(store), await claimed(store), new_job_id()
    await store.claims.hand_back(stale, "1/n", "crash")
    await claim_all(store, [stale], "n2")
    await store.claims.finish(twice, "1/n", "succeeded", b"1")
    canceled = await claimed(store)
    await store.records.cancel(canceled, "t")
    endings = [done(stale), done(fresh), done(twice), done(unknown), Ending(canceled, "1/n", "failed", FAILURE), done(stale, "2/n2")]
    assert await store.claims.finish_all(endings) == [None, "succeeded", "succeeded", None, "canceled", "succeeded"]
    assert (await store.records.read(twice, "t")).output == b"1"


async def test_many_ends_sent_twice_have_one_effect(store: Store) -> None:
    ids = [await claimed(store) for _ in range(3)]
    endings = [done(job_id) for job_id in ids]
    assert await store.claims.finish_all(endings) == ["succeeded"] * 3
    before = [await store.records.read(job_id, "t") for job_id in ids]
    assert await store.claims.finish_all(endings) == ["succeeded"] * 3
    assert [await store.records.read(job_id, "t") for job_id in ids] == before
    assert (await store.records.overview())[1]["m:succeeded"] == 3


async def test_a_job_that_cannot_be_claimed_keeps_nobody_from_being_claimed(store: Store) -> None:
    first, bad, last = await submit(store), await broken(store), await submit(store)
    claims = await claim_all(store, [first, bad, last])
    assert [claim and claim.id for claim in claims] == [first, None, last]
    assert [await status(store, job_id) for job_id in (first, bad, last)] == ["running", "queued", "running"]
    assert await members(store, "lease") == {first, last}


async def test_an_end_that_fails_keeps_nobody_from_its_end(store: Store) -> None:
    first, last = await claimed(store), await claimed(store)
    bad = await claimed(store)
    await store.connection.command("HSET", f"{store.prefix}job:{bad}", "hook", "no JSON")
    answers = await store.claims.finish_all([done(first), done(bad), done(last)])
    assert (answers[0], answers[2]) == ("succeeded", "succeeded")
    assert isinstance(answers[1], StoreError)
    assert await members(store, "lease") == {bad}
    with pytest.raises(LongrunError):
        await store.claims.finish(bad, "1/n", "succeeded", b"1")


async def test_each_tenant_is_told_of_its_own_jobs(store: Store) -> None:
    for tenant in "tu":
        assert await store.webhooks.add_endpoint(tenant, f"we_{tenant}", {**HOOK, "url": f"https://example.com/{tenant}"}) is not None
    ids = [await submit(store, tenant=tenant) for tenant in "tut"] + [await submit(store, tenant="v")]
    await claim_all(store, ids)
    await store.claims.finish_all([done(job_id) for job_id in ids])
    told = {}
    for tenant in "tuv":
        found, _ = await store.webhooks.deliveries(tenant, cursor=None, look_at=100, filters={})
        told[tenant] = {(delivery.job, delivery.endpoint) for delivery in found}
    assert told == {"t": {(ids[0], "we_t"), (ids[2], "we_t")}, "u": {(ids[1], "we_u")}, "v": set()}


async def test_scripts_of_many_jobs_that_the_server_forgot_are_loaded_again(store: Store) -> None:
    ids = [await submit(store) for _ in range(3)]
    await store.connection.command("SCRIPT", "FLUSH")
    assert None not in await claim_all(store, ids)
    await store.connection.command("SCRIPT", "FLUSH")
    assert await store.claims.finish_all([done(job_id) for job_id in ids]) == ["succeeded"] * 3


async def test_a_message_that_names_no_job_is_taken_and_named_by_nothing(store: Store) -> None:
    job_id = await submit(store)
    await store.connection.command("RPUSH", f"{store.prefix}gpu.m:4", '{"headers":{"id":"7d0c"}}')
    assert await tickets(store) == [b"", job_id.encode()]
