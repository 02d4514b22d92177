"""What the attempts of a job have used."""

from __future__ import annotations

import asyncio

import orjson
from tests.integration.store.test_scripts import FAILURE, claimed

from longrun.jobs.policy import Policy
from longrun.store.store import Store


async def test_usage_adds_up_over_attempts_and_counts_once_when_sent_twice(store: Store) -> None:
    job_id = await claimed(store, Policy(max_attempts=3))
    for _ in range(2):
        assert await store.claims.hand_back(job_id, 1, "crash", FAILURE, usage=b'{"run_s":1.5,"tokens":10}') == "queued"
    await store.claims.claim(job_id, "n2", "w", "cpu")
    for _ in range(2):
        assert await store.claims.retry_later(job_id, 2, 0, FAILURE, b'{"run_s":0.25,"cost_usd":1e308}') == "retrying"
    await asyncio.sleep(0.01)
    await store.upkeep.release_due()
    await store.claims.claim(job_id, "n3", "w", "cpu")
    for _ in range(2):
        assert await store.claims.finish(job_id, 3, "failed", FAILURE, b'{"run_s":1,"tokens":5,"cost_usd":1e308}') == "failed"
    # A sum that is no number any more is left as it was.
    used = orjson.loads((await store.records.read(job_id, "t")).usage or b"")
    assert used == {"run_s": 2.75, "tokens": 15, "cost_usd": 1e308}
    attempts = await store.records.attempts(job_id, "t")
    assert [each.usage for each in attempts] == [
        {"run_s": 1.5, "tokens": 10},
        {"run_s": 0.25, "cost_usd": 1e308},
        {"run_s": 1, "tokens": 5, "cost_usd": 1e308},
    ]
