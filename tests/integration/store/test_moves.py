"""No order of calls of the scripts moves a job as `MOVES` does not allow, on a real Valkey."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.integration.store.test_scripts import FAILURE, status, submit

from longrun.clock import new_job_id
from longrun.jobs.fence import fence_of
from longrun.jobs.policy import Policy
from longrun.jobs.states import MOVES, RETRYABLE, TERMINAL, Status
from longrun.store.steps import Child, Sleep, Terms
from longrun.store.store import Store


@pytest.mark.parametrize("seed", range(8))
async def test_no_sequence_of_calls_leaves_the_table_of_moves(store: Store, seed: int) -> None:
    """Random calls, in random order, with right and stale attempts: the status only moves as `MOVES` allows."""
    rng = random.Random(seed)
    job_id = await submit(store, Policy(max_attempts=3, max_crashes=3), delay=rng.choice([0, 0.001]))
    before, ends = await status(store, job_id), 0
    for step in range(60):
        attempt = (await store.records.read(job_id, "t")).attempt - (rng.random() < 0.2)
        fence = f"{attempt}/n"
        calls: list[Any] = [
            lambda: store.claims.claim(job_id, "n", "w", "cpu"),
            lambda: store.claims.claim(job_id, "n", "w", "cpu"),
            lambda: store.claims.hand_back(job_id, fence, rng.choice(["crash", "release", "suspect"])),  # noqa: B023
            lambda: store.claims.retry_later(job_id, fence, 0, FAILURE),  # noqa: B023
            store.upkeep.release_due,
            lambda: store.upkeep.republish(0),
            lambda: store.claims.append(job_id, fence, 0, b"", [("log", b"{}")]),  # noqa: B023
        ]
        if step > 20:
            calls += [
                lambda: store.records.cancel(job_id, "t"),
                lambda: store.claims.finish(job_id, fence, rng.choice(["succeeded", "failed"]), FAILURE),  # noqa: B023
            ]
        await rng.choice(calls)()
        after = await status(store, job_id)
        if after != before:
            assert Status(after) in MOVES[Status(before)], (before, after)
            ends += Status(after) in TERMINAL
        before = after
    assert ends <= 1
    page = await store.records.events(job_id, "t", 0, 1000)
    assert [event.type for event in page.events].count("done") == ends
    assert [event.seq for event in page.events] == list(range(1, page.latest + 1))
    if Status(before) in RETRYABLE:
        assert await store.records.resubmit(job_id, "t", new_job_id())


@pytest.mark.parametrize("seed", range(8))
async def test_no_sequence_of_calls_of_a_parent_leaves_it_either(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    job_id = await submit(store, Policy(max_attempts=9, max_crashes=9))
    step = Child("n:a", "m", "leaf", "gpu", b"1", Policy().to_json())
    claim = await store.claims.claim(job_id, "n", "w", "cpu")
    assert claim is not None and await store.steps.ask(job_id, claim.fence, [step], seen=-1, need=1, terms=Terms()) is not None
    before = await status(store, job_id)
    assert before == Status.WAITING
    for number in range(80):
        fence = fence_of((await store.records.read(job_id, "t")).attempt, "n")
        calls: list[Any] = [
            lambda: store.claims.claim(job_id, "n", "w", "cpu"),
            lambda: store.steps.ask(job_id, fence, [step], seen=-1, need=1, terms=Terms()),  # noqa: B023
            lambda: store.steps.ask(job_id, fence, [Sleep(f"z:{number}", "m", 0.002)], seen=-1, need=1, terms=Terms()),  # noqa: B023
            lambda: store.steps.resume(job_id, fence, 0, go=True),  # noqa: B023
            lambda: store.steps.let_go([(job_id, fence, 1, b"")]),  # noqa: B023
            lambda: store.claims.hand_back(job_id, fence, rng.choice(["crash", "release"])),  # noqa: B023
            lambda: store.claims.retry_later(job_id, fence, 0, FAILURE),  # noqa: B023
            store.upkeep.release_due,
        ]
        if number > 60:
            calls += [
                lambda: store.records.cancel(job_id, "t"),
                lambda: store.claims.finish(job_id, fence, "succeeded", b"1"),  # noqa: B023
            ]
        await rng.choice(calls)()
        after = await status(store, job_id)
        assert after == before or Status(after) in MOVES[Status(before)], (before, after)
        before = after
