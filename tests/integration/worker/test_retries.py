"""Retries as a real worker makes them: for one item of a batch, under the policy of one request, and of jobs that run at most once."""

from __future__ import annotations

import orjson
from tests.integration.worker.conftest import Caller

from longrun.jobs.policy import Policy

PATIENCE = 120

#: Models of the worker that the tests share.
SHARED = "Picky,shout,fail,Crasher"


async def test_one_item_of_a_batch_comes_back_when_its_upstream_asked_for_it_and_its_neighbours_do_not(shared: Caller) -> None:
    policy = Policy(max_attempts=3)
    ids = [await shared.submit("picky", "poison", x=n, how="busy" if n == 1 else "", policy=policy) for n in range(4)]
    jobs = [await shared.end(job_id, timeout=PATIENCE) for job_id in ids]
    outputs = [orjson.loads(job.output or b"null") for job in jobs]
    assert [output[0] for output in outputs] == [1, 2, 1, 1]
    assert [output[2] for output in outputs] == ids  # the key for upstream services is the job's id in every attempt
    first, second = await shared.store.records.attempts(ids[1], "t")
    assert (first.outcome, (first.error or {})["code"], second.outcome) == ("retrying", "upstream-rate-limited", "succeeded")
    assert second.started - (first.finished or 0) >= 300
    assert (first.worker, first.device) == (second.worker, "cpu")


async def test_a_request_may_ask_for_fewer_attempts_than_the_model_allows(shared: Caller) -> None:
    job_id = await shared.submit("picky", "poison", x=1, how="busy", policy=Policy(max_attempts=1))
    job = await shared.end(job_id, timeout=PATIENCE)
    assert (job.status.value, job.attempt, orjson.loads(job.error or b"")["code"]) == ("failed", 1, "upstream-rate-limited")


async def test_an_exception_that_retry_covers_is_tried_again_also_at_most_once(shared: Caller) -> None:
    """The code has ended and said so: nothing about the outcome is unknown."""
    policy = Policy(max_attempts=3, backoff=0, delivery="at_most_once")
    job = await shared.end(await shared.submit("shout", text="a", failures=1, policy=policy), timeout=PATIENCE)
    assert (job.status.value, job.attempt) == ("succeeded", 2)
    job = await shared.end(await shared.submit("fail", kind="other", policy=policy), timeout=PATIENCE)
    assert (job.status.value, job.attempt) == ("failed", 1)


async def test_the_budgets_are_counted_apart(shared: Caller) -> None:
    """A retried error leaves the crash budget alone, and a crash leaves the errors alone."""
    job_id = await shared.submit("shout", text="a", failures=2, policy=Policy(max_attempts=3, backoff=0, max_crashes=1))
    job = await shared.end(job_id, timeout=PATIENCE)
    assert (job.status.value, job.errors) == ("succeeded", 2)
    job_id = await shared.submit("crasher", how="exit", policy=Policy(max_attempts=1, max_crashes=2))
    job = await shared.end(job_id, timeout=PATIENCE)
    assert (job.status.value, job.errors, job.attempt) == ("failed", 0, 2)
