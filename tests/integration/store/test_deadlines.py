"""When a job that waits expires: one rule, whichever script has made the job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.integration.store.test_batches import LINES, accepted
from tests.integration.store.test_scripts import FAILURE, claimed, status, submit

from longrun.clock import item_id, new_job_id
from longrun.jobs.policy import Policy
from longrun.store.store import Store


async def submitted(store: Store, policy: Policy) -> str:
    return await submit(store, policy)


async def delayed(store: Store, policy: Policy) -> str:
    return await submit(store, policy, delay=DELAY)


async def retried(store: Store, policy: Policy) -> str:
    job_id = await submit(store, policy)
    await store.records.cancel(job_id, "t")
    return await store.records.resubmit(job_id, "t", new_job_id())


async def redriven(store: Store, policy: Policy) -> str:
    """From the dead letters."""
    job_id = await claimed(store, policy)
    await store.claims.finish(job_id, "1/n", "failed", FAILURE)
    assert await store.records.dead("t") == 1
    return await store.records.resubmit(job_id, "t", new_job_id())


async def item(store: Store, policy: Policy) -> str:
    batch = await accepted(store, total=1, policy=policy.to_json())
    assert (await store.batches.feed(batch, 0, LINES)).fed == 1
    return item_id(batch, 0)


DELAY = 5.0
MAKERS = [submitted, delayed, retried, redriven, item]
Make = Callable[[Store, Policy], Awaitable[str]]


async def deadline(store: Store, job_id: str) -> float | None:
    """Seconds after its submit at which the job expires while it waits."""
    at = await store.connection.command("ZSCORE", f"{store.prefix}deadline", job_id)
    return None if at is None else (float(at) - (await store.records.read(job_id, "t")).created) / 1000


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("limits", "first"),
    [
        ({"start_within": 30.0, "total_timeout": 20.0}, "total_timeout"),
        ({"start_within": 10.0, "total_timeout": 20.0}, "start_within"),
        ({"start_within": 10.0}, "start_within"),
        ({"total_timeout": 20.0}, "total_timeout"),
        ({"start_within": 12.5, "total_timeout": 1e22}, "start_within"),
        ({}, None),
    ],
    ids=["both", "the other first", "start_within", "total_timeout", "a large number", "none"],
)
async def test_a_job_expires_by_whichever_of_its_limits_ends_first(
    store: Store, make: Make, limits: dict[str, float], first: str | None
) -> None:
    job_id = await make(store, Policy(**limits))  # type: ignore[arg-type]
    # `start_within` counts from the end of the delay, `total_timeout` from the submit.
    wait = DELAY if make is delayed and first == "start_within" else 0
    expected = None if first is None else limits[first] + wait
    assert await deadline(store, job_id) == expected


@pytest.mark.parametrize("make", [retried, redriven])
async def test_a_job_that_was_retried_expires_when_its_total_timeout_is_over(store: Store, make: Make) -> None:
    job_id = await make(store, Policy(start_within=60, total_timeout=0.05))
    while await status(store, job_id) == "queued":
        await store.upkeep.release_due()
    assert await status(store, job_id) == "expired"


@pytest.mark.parametrize("end", ["retry_later", "hand_back"])
async def test_a_job_that_has_run_and_waits_again_has_its_total_timeout_alone(store: Store, end: str) -> None:
    job_id = await claimed(store, Policy(start_within=5, total_timeout=20, max_attempts=3))
    if end == "retry_later":
        await store.claims.retry_later(job_id, "1/n", 0, FAILURE)
    else:
        await store.claims.hand_back(job_id, "1/n", "release")
    assert await deadline(store, job_id) == 20


async def test_start_within_counts_for_the_first_start_alone(store: Store) -> None:
    job_id = await claimed(store, Policy(start_within=0.05))
    await store.claims.hand_back(job_id, "1/n", "crash")
    await asyncio.sleep(0.06)
    await store.upkeep.release_due()
    assert await status(store, job_id) == "queued"
