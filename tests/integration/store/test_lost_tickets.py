"""Tickets that were lost are found by evidence; jobs that merely wait cost nothing. Time is moved by rewriting when jobs were queued."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from tests.integration.store.test_scripts import LANE, new_job, status, submit

from longrun.chores.run import DOUBT_AFTER_S, OVERTAKEN_AFTER_S, LaneLook
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store

TEN_MINUTES = 600_000
# Spreads the queueing of all waiting jobs evenly over the last ARGV[3] ms, in their order; what was claimed before is older still.
AGE = """
local wait, prefix, span = ARGV[1], ARGV[2], tonumber(ARGV[3])
local ids = redis.call('ZRANGE', wait, 0, -1, 'WITHSCORES')
local n = #ids / 2
for _, list in ipairs(redis.call('ZRANGE', prefix .. 'mark', 0, -1)) do redis.call('ZINCRBY', prefix .. 'mark', -span, list) end
for i = 1, n do
  local id, back = ids[2 * i - 1], math.floor(span * (n - i + 1) / n)
  redis.call('ZINCRBY', wait, -back, id)
  redis.call('HINCRBY', prefix .. 'job:' .. id, 'queued', -back)
end
return n
"""


@pytest.fixture
async def store(settings: Settings, valkey_url: str) -> AsyncIterator[Store]:
    """A patient one: moving the time of a hundred thousand jobs is a long script."""
    store = Store(valkey_url, settings, ticket_template(), timeout=60)
    yield store
    await store.close()


async def age(store: Store, span: int = TEN_MINUTES) -> None:
    await store.connection.command("EVAL", AGE, 0, f"{store.prefix}wait:{LANE}", store.prefix, span, timeout=30)


async def take(store: Store, most: int) -> list[str]:
    """Pop and claim, as a worker does."""
    reply = await store.connection.run("pop", LANE, most)
    ids = [job_id.decode() for job_id in reply[2::3]]
    return [claim.id for claim in await store.claims.claim_all(ids, "n", "w", "cpu") if claim is not None]


async def count_tickets(store: Store) -> int:
    lists = [f"{store.prefix}{LANE}" + (f":{level}" if level else "") for level in range(10)]
    return sum([await store.connection.command("LLEN", name) for name in lists])


async def lose_tickets(store: Store, ids: set[str], level: int = 4) -> None:
    name = f"{store.prefix}{LANE}:{level}"
    tickets = await store.connection.command("LRANGE", name, 0, -1, timeout=30)
    left = [ticket for ticket in tickets if ticket.split(b'"id":"')[1][:36].decode() not in ids]
    assert len(left) == len(tickets) - len(ids)
    await store.connection.command("DEL", name)
    for i in range(0, len(left), 5000):
        await store.connection.command("RPUSH", name, *left[i : i + 5000])


@pytest.mark.slow
async def test_a_backlog_of_a_hundred_thousand_that_waits_ten_minutes_gets_no_ticket_twice_and_lost_ones_are_found(store: Store) -> None:
    ids = []
    for _ in range(100):
        jobs = [new_job() for _ in range(1000)]
        await asyncio.gather(*[store.records.submit(job) for job in jobs])
        ids += [job.id for job in jobs]
    await age(store)
    look = LaneLook(store)
    for _ in range(20):
        assert len(await take(store, 100)) == 100
    handed_back = ids[:50]
    await asyncio.gather(*[store.claims.hand_back(job_id, "1/n", "crash") for job_id in handed_back])
    for _ in range(120):  # ten minutes of looks, and a worker that takes a job now and then
        await look.look()
        await store.upkeep.republish(DOUBT_AFTER_S)
        await take(store, 1)
    waiting = await store.connection.command("ZCARD", f"{store.prefix}wait:{LANE}")
    assert 97_000 < waiting <= 98_050
    assert waiting <= await count_tickets(store) <= waiting * 1.01

    lost = set(random.Random(1).sample(ids[3000:10_000], 150))
    await lose_tickets(store, lost)
    assert await count_tickets(store) < waiting - 100
    assert set(await take(store, 100)).isdisjoint(lost)
    while await status(store, ids[10_000]) == "queued":
        assert await take(store, 100)
    await look.look()
    again = set(await take(store, 100)) | set(await take(store, 100))
    # Ten seconds are 1,666 of the jobs, as they were queued.
    overtaken = {job_id for job_id in lost if ids.index(job_id) < 8_000}
    assert len(overtaken) > 50
    assert overtaken <= again
    waiting = await store.connection.command("ZCARD", f"{store.prefix}wait:{LANE}")
    assert await count_tickets(store) <= waiting * 1.01


async def test_a_job_is_not_taken_for_overtaken_by_one_that_was_queued_shortly_after_it(store: Store) -> None:
    early, later = await submit(store), await submit(store)
    await age(store, 8000)
    await lose_tickets(store, {early})
    assert await take(store, 1) == [later]
    assert await store.upkeep.overtaken(LANE, OVERTAKEN_AFTER_S) == 0
    assert await store.upkeep.overtaken(LANE, 1) == 1
    assert await take(store, 1) == [early]


async def test_a_job_whose_ticket_was_popped_a_moment_ago_is_not_overtaken(store: Store) -> None:
    early, later = await submit(store), await submit(store)
    await age(store)
    await store.connection.run("pop", LANE, 1)
    assert await take(store, 1) == [later]
    assert await store.upkeep.overtaken(LANE, OVERTAKEN_AFTER_S) == 0
    assert await status(store, early) == "queued"


async def test_a_job_that_was_handed_back_is_not_overtaken_by_those_that_ran_meanwhile(store: Store) -> None:
    early, later = await submit(store), await submit(store)
    await age(store)
    assert await take(store, 2) == [early, later]
    assert await store.claims.hand_back(early, "1/n", "crash") == "queued"
    assert await store.upkeep.overtaken(LANE, OVERTAKEN_AFTER_S) == 0
    assert await count_tickets(store) == 1


async def test_a_job_that_came_from_the_front_overtakes_nobody(store: Store) -> None:
    first = await submit(store)
    assert await take(store, 1) == [first]
    waits = await submit(store)
    await store.claims.hand_back(first, "1/n", "release")
    await age(store)
    await store.connection.command("HINCRBY", f"{store.prefix}job:{first}", "queued", 10 * TEN_MINUTES)
    assert await take(store, 1) == [first]
    assert await store.upkeep.overtaken(LANE, 0) == 0
    assert await take(store, 1) == [waits]


async def test_priorities_do_not_overtake_one_another(store: Store) -> None:
    low = await submit(store, priority=1)
    high = await submit(store, priority=9)
    await age(store)
    assert await take(store, 1) == [high]
    assert await store.upkeep.overtaken(LANE, OVERTAKEN_AFTER_S) == 0
    assert await take(store, 1) == [low]
