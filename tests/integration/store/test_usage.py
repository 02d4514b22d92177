"""What the attempts of a job have used."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from tests.integration.store.test_scripts import FAILURE, claimed

from longrun.jobs.policy import Policy
from longrun.store.store import Store


async def test_usage_adds_up_over_attempts_and_counts_once_when_sent_twice(store: Store) -> None:
    job_id = await claimed(store, Policy(max_attempts=3))
    for _ in range(2):
        assert await store.claims.hand_back(job_id, "1/n", "crash", FAILURE, usage=b'{"run_s":1.5,"tokens":10}') == "queued"
    await store.claims.claim(job_id, "n2", "w", "cpu")
    for _ in range(2):
        assert await store.claims.retry_later(job_id, "2/n2", 0, FAILURE, b'{"run_s":0.25,"cost_usd":1e308}') == "retrying"
    await asyncio.sleep(0.01)
    await store.upkeep.release_due()
    await store.claims.claim(job_id, "n3", "w", "cpu")
    for _ in range(2):
        assert await store.claims.finish(job_id, "3/n3", "failed", FAILURE, b'{"run_s":1,"tokens":5,"cost_usd":1e308}') == "failed"
    # A sum that is no number any more is left as it was.
    used = orjson.loads((await store.records.read(job_id, "t")).usage or b"")
    assert used == {"run_s": 2.75, "tokens": 15, "cost_usd": 1e308}
    attempts = await store.records.attempts(job_id, "t")
    assert [each.usage for each in attempts] == [
        {"run_s": 1.5, "tokens": 10},
        {"run_s": 0.25, "cost_usd": 1e308},
        {"run_s": 1, "tokens": 5, "cost_usd": 1e308},
    ]


async def times(store: Store) -> dict[str, float]:
    """Seconds of the model `m`, by what they were spent with."""
    *_, found = await store.records.overview()
    return {name.partition(":")[2]: value / 1e6 for name, value in found.items()}


async def test_times_are_those_that_attempts_say_and_count_once_whatever_the_store_waited(store: Store) -> None:
    job_id = await claimed(store, Policy(max_attempts=3))
    await asyncio.sleep(0.2)
    for _ in range(2):
        await store.claims.hand_back(job_id, "1/n", "suspect", FAILURE, usage=b'{"run_s":0.05,"wait_s":1e-2,"tokens":10}')
    assert await store.claims.claim(job_id, "n2", "w", "cpu")
    for _ in range(2):
        await store.claims.retry_later(job_id, "2/n2", 0, FAILURE, b'{"run_s":1.5e-3,"wait_s":0.0}')
    await asyncio.sleep(0.01)
    await store.upkeep.release_due()
    assert await store.claims.claim(job_id, "n3", "w", "cpu")
    for _ in range(2):
        await store.claims.finish(job_id, "3/n3", "succeeded", b"1", b'{"run_s":0.000004,"wait_s":0.000001}')
    found = await times(store)
    assert (found["run"], found["wait"]) == (pytest.approx(0.051504), pytest.approx(0.010001))
    attempts = await store.records.attempts(job_id, "t")
    taken = [(each.finished or 0) - each.started for each in attempts]
    waited = [each.started - (each.queued or 0) for each in attempts]
    assert found["queue"] == pytest.approx(sum(waited) / 1000, abs=0.001)
    assert found["store"] == pytest.approx(max(0, taken[0] / 1000 - 0.06) + max(0, taken[1] / 1000 - 0.0015) + taken[2] / 1000, abs=0.003)


async def test_what_a_job_waited_for_its_steps_is_no_time_of_the_store(store: Store) -> None:
    job_id = await claimed(store)
    await asyncio.sleep(0.1)
    await store.claims.finish(job_id, "1/n", "succeeded", b"1", b'{"run_s":0.01,"wait_s":1e-3,"steps_s":60.5,"tokens":1}')
    assert (await times(store))["store"] == 0


async def test_an_attempt_of_which_nothing_is_known_counts_nothing(store: Store) -> None:
    await claimed(store)
    await asyncio.sleep(0.05)
    await store.upkeep.report_lost("w")
    assert await store.claims.finish(await claimed(store), "1/n", "canceled", FAILURE, b'{"batch_size":3}') == "canceled"
    assert set(await times(store)) == {"queue"}


async def test_a_job_that_was_given_back_waits_from_then_on_and_keeps_its_place(store: Store) -> None:
    job_id = await claimed(store)
    job = await store.records.read(job_id, "t")
    first, lane = job.queued, f"{store.prefix}wait:{job.queue}.{job.model}"
    places = set[float]()
    for attempt, nonce in ((1, "n"), (2, "again-1")):
        await asyncio.sleep(0.05)
        assert await store.claims.hand_back(job_id, f"{attempt}/{nonce}", "release") == "queued"
        queued = (await store.records.read(job_id, "t")).queued
        assert queued is not None and first is not None and queued >= first + 50 * attempt
        places.add(float(await store.connection.command("ZSCORE", lane, job_id)))
        assert await store.claims.claim(job_id, f"again-{attempt}", "w", "cpu")
    (place,) = places
    assert place % 1e13 == first
    # After an error it is queued anew, and stands at the end.
    assert await store.claims.retry_later(job_id, "3/again-2", 0, FAILURE) == "retrying"
    await asyncio.sleep(0.01)
    await store.upkeep.release_due()
    place = float(await store.connection.command("ZSCORE", lane, job_id))
    assert place % 1e13 >= first + 100
    assert await store.claims.claim(job_id, "last", "w", "cpu")
    assert await store.claims.hand_back(job_id, "4/last", "release") == "queued"
    assert float(await store.connection.command("ZSCORE", lane, job_id)) == pytest.approx(place, abs=1)
