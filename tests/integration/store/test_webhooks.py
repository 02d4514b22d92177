"""The outbox and the ledger: a webhook is written by the script that changes the job, once, and settled once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from longrun.clock import new_job_id
from longrun.errors import JobGone, WebhookDeliveryNotFound
from longrun.jobs.policy import Policy
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.records import NewJob
from longrun.store.store import Store
from longrun.store.webhooks import Delivery, Due, Try

ENDS = ["job.succeeded", "job.failed", "job.canceled", "job.expired"]
OWN = {"url": "https://example.com/own", "events": ENDS, "secret": "whsec_own"}
FRESH = "whsec_fresh"


async def submit(store: Store, hook: dict[str, Any] | None = None, **policy: Any) -> str:
    job = NewJob(new_job_id(), "t", "m", "q", 5, b"{}", Policy(**policy).to_json(), hook=None if hook is None else orjson.dumps(hook))
    assert (await store.records.submit(job)).outcome == "new"
    return job.id


async def end(store: Store, job_id: str) -> None:
    claim = await store.claims.claim(job_id, "n", "w", "cpu")
    assert claim is not None
    assert await store.claims.finish(job_id, claim.fence, "succeeded", b'"done"') == "succeeded"


async def register(store: Store, number: int, *events: str) -> str:
    members = {"url": f"https://example.com/{number}", "events": list(events or ENDS), "description": "", "secret": f"whsec_{number}"}
    made = await store.webhooks.add_endpoint("t", f"we_{number}", members)
    assert made is not None
    return made.id


async def take(store: Store, nonce: str = "n1", most: int = 100) -> list[Due]:
    return await store.webhooks.take(nonce, most, FRESH)


async def ledger(store: Store, **filters: str) -> Sequence[Delivery]:
    found, _ = await store.webhooks.deliveries("t", cursor=None, look_at=100, filters=filters)
    return found


def tried(status: int | None = 200) -> Try:
    return Try(1, status, None if status else "no connection", 0.1)


async def test_the_end_of_a_job_is_due_for_its_own_webhook_and_for_each_endpoint_that_wants_it(store: Store) -> None:
    await register(store, 1)
    await register(store, 2, "job.failed")
    job_id = await submit(store, OWN)
    assert await take(store) == []
    await end(store, job_id)
    due = {each.url: each for each in await take(store, "n2")}
    assert set(due) == {"https://example.com/own", "https://example.com/1"}
    assert {(each.type, each.job, each.tenant, each.number, each.tries) for each in due.values()} == {("job.succeeded", job_id, "t", 1, 1)}
    assert [list(due[url].secrets) for url in sorted(due)] == [["whsec_1"], ["whsec_own"]]
    assert len({each.id for each in due.values()}) == 2


async def test_starts_and_retries_are_told_only_to_who_asked_for_them(store: Store) -> None:
    job_id = await submit(store, OWN | {"events": ["job.started", "job.retrying"]}, max_attempts=2)
    for attempt in (1, 2):
        claim = await store.claims.claim(job_id, f"n{attempt}", "w", "cpu")
        assert claim is not None
        if attempt == 1:
            await store.claims.retry_later(job_id, "1/n1", 0, b'{"code":"model-error"}')
            await asyncio.sleep(0.01)
            assert await store.upkeep.release_due() == 1
    assert await store.claims.finish(job_id, "2/n2", "succeeded", b"1") == "succeeded"
    found = [(each.type, orjson.loads(each.data).get("attempt")) for each in await take(store)]
    assert sorted(found) == [("job.retrying", 1), ("job.started", 1), ("job.started", 2)]


async def test_a_change_that_is_written_twice_makes_one_delivery_of_one_id(store: Store) -> None:
    job_id = await submit(store, OWN | {"events": [*ENDS, "job.started"]})
    for _ in range(2):
        assert await store.claims.claim(job_id, "n", "w", "cpu")
    for _ in range(2):
        assert await store.claims.finish(job_id, "1/n", "succeeded", b"1") == "succeeded"
    assert sorted(each.type for each in await ledger(store)) == ["job.started", "job.succeeded"]


async def test_a_claim_that_is_sent_twice_counts_one_try_and_another_claim_gets_nothing(store: Store) -> None:
    await end(store, await submit(store, OWN))
    (first,) = await take(store, "a")
    assert await take(store, "a") == [first]
    assert await take(store, "b") == []


async def test_a_try_whose_process_died_is_followed_by_another_with_the_same_id(store: Store, settings: Settings) -> None:
    await end(store, await submit(store, OWN))
    (first,) = await take(store, "a")
    # The lease is over: time is moved by rewriting when it is due.
    await store.connection.command("ZADD", f"{settings.prefix}delivery-due", "1", first.id)
    (second,) = await take(store, "b")
    assert (second.id, second.number, second.tries) == (first.id, 2, 2)
    assert not await store.webhooks.settle(first, "delivered", tried=tried()), "the word of a try that is over counts for nothing"
    assert await store.webhooks.settle(second, "delivered", tried=tried())
    (told,) = await ledger(store)
    assert (told.status, [each.status for each in told.tries]) == ("delivered", [200])


async def test_a_word_that_is_sent_twice_has_one_effect(store: Store) -> None:
    await end(store, await submit(store, OWN))
    (due,) = await take(store)
    for _ in range(2):
        assert await store.webhooks.settle(due, "retry", delay=0.0, tried=tried(500))
    (again,) = await take(store, "n2")
    assert (again.number, again.tries) == (2, 2)
    for _ in range(2):
        assert await store.webhooks.settle(again, "release", delay=0.0)
    (third,) = await take(store, "n3")
    assert (third.number, third.tries) == (3, 2), "a try that was not sent does not count"
    assert await store.webhooks.settle(third, "failed", tried=tried(500), reason="enough")
    (told,) = await ledger(store)
    assert (told.status, told.reason, len(told.tries), told.due) == ("failed", "enough", 2, None)


async def test_a_job_is_kept_until_its_webhooks_have_settled_and_as_long_as_its_policy_says_from_then(store: Store) -> None:
    job_id = await submit(store, OWN, retain_for=0.05)
    await register(store, 1)
    await end(store, job_id)
    await asyncio.sleep(0.1)
    assert await store.upkeep.expire() == 0
    job = await store.records.read(job_id, "t")
    assert (job.output, job.expires) == (b'"done"', None)
    first, second = await take(store)
    assert await store.webhooks.settle(first, "delivered", tried=tried())
    assert (await store.records.read(job_id, "t")).expires is None
    assert await store.webhooks.settle(second, "failed", tried=tried(500), reason="enough")
    assert (await store.records.read(job_id, "t")).expires is not None
    await asyncio.sleep(0.1)
    assert await store.upkeep.expire() == 1


async def test_what_nobody_can_receive_any_more_is_given_up_and_says_why(store: Store) -> None:
    gone, off = await register(store, 1), await register(store, 2)
    job_id = await submit(store)
    await end(store, job_id)
    await store.webhooks.delete_endpoint("t", gone)
    await store.webhooks.change_endpoint("t", off, {"disabled_reason": "It was disabled by request."})
    deleted = await submit(store, OWN)
    await end(store, deleted)
    await store.records.delete(deleted, "t")
    assert await take(store) == []
    assert sorted((each.status, each.reason) for each in await ledger(store)) == [
        ("failed", "The endpoint is disabled: It was disabled by request."),
        ("failed", "The endpoint was deleted."),
        ("failed", "The job was deleted or has expired."),
    ]
    assert (await store.records.read(job_id, "t")).expires is not None
    await end(store, await submit(store))
    assert await take(store, "n2") == [], "a disabled endpoint gets nothing new"


async def test_a_receiver_that_says_410_is_disabled(store: Store) -> None:
    endpoint_id = await register(store, 1)
    await end(store, await submit(store))
    (due,) = await take(store)
    assert await store.webhooks.settle(due, "disabled", tried=tried(410), reason="The receiver answered 410.")
    endpoint = await store.webhooks.endpoint("t", endpoint_id)
    assert endpoint is not None
    assert endpoint.disabled_reason == "The receiver answered 410."


async def test_both_secrets_sign_while_one_is_being_replaced(store: Store) -> None:
    endpoint_id = await register(store, 1)
    await store.webhooks.rotate_endpoint("t", endpoint_id, "whsec_new", 60)
    await store.webhooks.rotate_endpoint("t", endpoint_id, "whsec_new", 60)  # sent twice
    await end(store, await submit(store))
    assert [list(each.secrets) for each in await take(store)] == [["whsec_new", "whsec_1"]]
    await store.webhooks.rotate_endpoint("t", endpoint_id, "whsec_newer", 0)
    await end(store, await submit(store))
    assert [list(each.secrets) for each in await take(store, "n2")] == [["whsec_newer"]]


async def test_a_job_without_a_secret_is_signed_with_the_tenants_own(store: Store) -> None:
    await end(store, await submit(store, {"url": "https://example.com", "events": ENDS}))
    (due,) = await take(store)
    assert list(due.secrets) == [FRESH]
    assert await store.webhooks.secret("t", "whsec_other") == FRESH


async def test_an_entry_goes_when_it_was_kept_long_enough(store: Store, settings: Settings) -> None:
    await end(store, await submit(store, OWN))
    (due,) = await take(store)
    await store.webhooks.settle(due, "delivered", tried=tried())
    await store.connection.command("ZADD", f"{settings.prefix}delivery-due", "1", due.id)
    assert await take(store, "n2") == []
    assert await ledger(store) == []
    assert await store.connection.command("EXISTS", f"{settings.prefix}delivery:{due.id}") == 0


async def test_a_retried_job_takes_its_webhook_along(store: Store) -> None:
    job_id = await submit(store, OWN)
    await store.records.cancel(job_id, "t")
    again = await store.records.resubmit(job_id, "t", new_job_id())
    await end(store, again)
    assert {(each.job, each.type) for each in await take(store)} == {(job_id, "job.canceled"), (again, "job.succeeded")}


async def test_a_message_is_sent_again_on_request_with_the_same_id_and_its_job_is_kept_for_it(store: Store) -> None:
    job_id = await submit(store, OWN, retain_for=100)
    await end(store, job_id)
    (due,) = await take(store)
    await store.webhooks.settle(due, "failed", tried=tried(500), reason="enough")
    with pytest.raises(WebhookDeliveryNotFound):
        await store.webhooks.redeliver("other", due.id)
    await store.webhooks.redeliver("t", due.id)
    assert (await store.records.read(job_id, "t")).expires is None
    (again,) = await take(store, "n2")
    assert (again.id, again.number, again.tries) == (due.id, 2, 1)
    await store.webhooks.settle(again, "delivered", tried=tried())
    assert (await store.records.read(job_id, "t")).expires is not None
    await store.records.delete(job_id, "t")
    with pytest.raises(JobGone):
        await store.webhooks.redeliver("t", due.id)


async def test_the_ledger_is_read_page_by_page_newest_first(store: Store) -> None:
    endpoint_id = await register(store, 1)
    jobs = [await submit(store) for _ in range(5)]
    for job_id in jobs:
        await end(store, job_id)
    pages, cursor = [], None
    for _ in range(3):
        page, cursor = await store.webhooks.deliveries("t", cursor=cursor, look_at=2, filters={})
        pages.append([each.job for each in page])
    assert pages == [[jobs[4], jobs[3]], [jobs[2], jobs[1]], [jobs[0]]]
    assert cursor is None
    assert [each.job for each in await ledger(store, job=jobs[2])] == [jobs[2]]
    assert len(await ledger(store, endpoint=endpoint_id, status="pending")) == 5
    assert await ledger(store, status="delivered") == []


async def test_the_first_try_waits_by_the_stores_clock(settings: Settings, valkey_url: str) -> None:
    """The clock of the process that sends may be an hour off."""
    store = Store(valkey_url, settings.model_copy(update={"webhook_schedule": (0.3, 1.0)}), ticket_template())
    await end(store, await submit(store, OWN))
    assert await take(store, "a") == []
    (waiting,) = await ledger(store)
    assert waiting.due == waiting.created + 300
    await asyncio.sleep(0.35)
    assert [(each.number, each.tries) for each in await take(store, "b")] == [(1, 1)]
    await store.close()


async def test_a_large_output_is_not_even_read_for_those_who_would_leave_it_out(store: Store) -> None:
    job_id = await submit(store)
    await end(store, job_id)
    assert (await store.records.read(job_id, "t", most_output=6)).output == b'"done"'
    small = await store.records.read(job_id, "t", most_output=5)
    assert (small.output, small.status, small.attempt) == (None, "succeeded", 1)
