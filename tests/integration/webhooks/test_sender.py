"""Messages on their way: what they say, and what becomes of them when a receiver is in trouble. Receivers are real servers on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest
from standardwebhooks import Webhook
from tests.chaos.receiver import SECRET, Answer, Receiver, at_first
from tests.integration.api.conftest import PlayedWorker
from tests.integration.api.served import served

from longrun.blobs import signing
from longrun.chores.host_limits import MOST, MOST_TO_ONE
from longrun.chores.webhooks import send_webhooks
from longrun.clock import new_job_id
from longrun.jobs.file_refs import FileRef, as_output, reference
from longrun.jobs.policy import Policy
from longrun.queues.celery.tickets import ticket_template
from longrun.service import webhooks
from longrun.service.caller import Caller
from longrun.service.parts import Parts
from longrun.settings import Settings
from longrun.store.records import NewJob
from longrun.store.store import Store
from longrun.store.webhooks import Delivery

BASE = "https://ai.example.com/api/v1"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A schedule of moments instead of days."""
    schedule = (0.0, 0.1, *[0.2] * 4)
    return settings.model_copy(update={"allowed_networks": ("127.0.0.0/8",), "webhook_schedule": schedule, "webhook_timeout": 1.0})


@pytest.fixture
async def parts(settings: Settings, store: Store) -> AsyncIterator[Parts]:
    """The open service, and a sender beside it."""
    parts = Parts(settings, store, served())
    sending = asyncio.create_task(send_webhooks(parts, BASE))
    yield parts
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending


class Jobs:
    """Submits jobs with a webhook, and ends them."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.worker = parts, PlayedWorker(parts.store)

    async def end(self, hook: dict[str, Any] | None, output: bytes = b'"done"', **policy: Any) -> str:
        """A job that has ended."""
        data = None if hook is None else orjson.dumps({"events": ["job.succeeded"]} | hook)
        job = NewJob(new_job_id(), "t", "echo", "default", 5, b"{}", Policy(**policy).to_json(), hook=data, metadata=b'{"order":7}')
        await self.parts.store.records.submit(job)
        await self.worker.succeed(job.id, output)
        return job.id

    async def settled(self, job_id: str, within: float = 60.0) -> Delivery:
        """The job's delivery, once it has an end."""
        (found,), _ = await self.parts.store.webhooks.deliveries("t", cursor=None, look_at=10, filters={"job": job_id})
        return await self.end_of(found.id, within)

    async def end_of(self, delivery_id: str, within: float = 60.0) -> Delivery:
        """The delivery, once it has an end."""
        end = time.monotonic() + within
        while True:
            found = await webhooks.delivery(Caller(self.parts, "t"), delivery_id)
            if found.status != "pending":
                return found
            assert time.monotonic() < end, found
            await asyncio.sleep(0.02)


@pytest.fixture
def jobs(parts: Parts) -> Jobs:
    return Jobs(parts)


async def test_a_message_says_what_has_become_of_the_job_and_is_signed(jobs: Jobs, receiver: Receiver) -> None:
    job_id = await jobs.end(receiver.hook())
    delivery = await jobs.settled(job_id)
    assert (delivery.status, [each.status for each in delivery.tries]) == ("delivered", [200])
    ((headers, body),) = receiver.requests
    assert headers["webhook-id"] == delivery.id
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("Longrun/")
    message = Webhook(SECRET).verify(body, headers)
    assert message["type"] == "job.succeeded"
    data = message["data"]
    assert (data["id"], data["status"], data["output"], data["output_omitted"]) == (job_id, "succeeded", "done", False)
    assert data["metadata"] == {"order": 7}
    assert data["urls"]["result"] == f"{BASE}/jobs/{job_id}/result"
    assert data["webhook"] == {"url": receiver.url, "events": ["job.succeeded"]}
    assert SECRET.encode() not in body


async def test_urls_of_files_in_a_message_open(jobs: Jobs, parts: Parts, receiver: Receiver) -> None:
    ref = FileRef(f"file_{'1' * 32}", "key", 5, "sha-256=x")
    for output, shown in (
        (orjson.dumps([as_output(ref)]), lambda data: data["output"][0]),
        (reference(ref), lambda data: data["output_file"]),
    ):
        await jobs.settled(await jobs.end(receiver.hook(), output))
        data = orjson.loads(receiver.requests[-1][1])["data"]
        url, _, query = shown(data)["url"].partition("?")
        assert url == f"{BASE}/files/{ref.id}/content"
        signing.verify(await parts.urls.know(), dict(parse_qsl(query)), tenant="t", file=ref.id)


async def test_a_large_output_is_left_out(jobs: Jobs, receiver: Receiver) -> None:
    await jobs.settled(await jobs.end(receiver.hook(), b'"' + 30_000 * b"x" + b'"'))
    ((_, body),) = receiver.requests
    data = orjson.loads(body)["data"]
    assert (data["output"], data["output_omitted"]) == (None, True)
    assert len(body) < webhooks.MOST_BYTES


TROUBLES: dict[str, tuple[Callable[[int], Answer], list[int | None]]] = {
    "errors": (at_first(Answer(500), Answer(404)), [500, 404, 200]),
    "redirects": (at_first(Answer(302, {"Location": "/"}), Answer(307, {"Location": "http://169.254.169.254/"})), [302, 307, 200]),
    "slow": (at_first(Answer(200, pause=1.5)), [None, 200]),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_receiver_in_trouble_gets_the_message_again_under_the_same_id(jobs: Jobs, receiver: Receiver, trouble: str) -> None:
    receiver.behave, expected = TROUBLES[trouble]
    delivery = await jobs.settled(await jobs.end(receiver.hook()))
    assert (delivery.status, [each.status for each in delivery.tries]) == ("delivered", expected)
    assert {headers["webhook-id"] for headers, _ in receiver.requests} == {delivery.id}
    assert len({body for _, body in receiver.requests}) == 1


async def test_a_receiver_that_asks_to_wait_is_waited_for(jobs: Jobs, receiver: Receiver) -> None:
    receiver.behave = at_first(Answer(429, {"Retry-After": "1"}))
    delivery = await jobs.settled(await jobs.end(receiver.hook()))
    first, second = delivery.tries
    assert second.at - first.at >= 1000


async def test_a_receiver_that_stays_in_trouble_is_given_up_and_the_job_lives_on(jobs: Jobs, receiver: Receiver) -> None:
    receiver.behave = lambda _: Answer(503)
    job_id = await jobs.end(receiver.hook(), retain_for=60)
    delivery = await jobs.settled(job_id)
    assert (delivery.status, delivery.reason, len(delivery.tries)) == ("failed", "All 6 tries have failed.", 6)
    job = await jobs.parts.store.records.read(job_id, "t")
    assert job.output == b'"done"'
    assert job.expires is not None


async def test_nobody_listens(jobs: Jobs, receiver: Receiver) -> None:
    hook = receiver.hook() | {"url": "http://127.0.0.1:1/hook"}
    delivery = await jobs.settled(await jobs.end(hook))
    assert delivery.status == "failed"
    assert {(each.status, each.error) for each in delivery.tries} == {(None, "no connection")}


async def test_an_endpoint_that_answers_410_gets_no_more(jobs: Jobs, receiver: Receiver) -> None:
    receiver.behave = lambda _: Answer(410)
    members = {"url": receiver.url, "events": ["job.succeeded"], "description": "", "secret": SECRET}
    endpoint = await jobs.parts.store.webhooks.add_endpoint("t", "we_1", members)
    assert endpoint is not None
    delivery = await jobs.settled(await jobs.end(None))
    assert (delivery.status, delivery.reason) == ("failed", "The receiver answered 410: it wants no more of them.")
    told = await webhooks.endpoint(Caller(jobs.parts, "t"), "we_1")
    assert told.disabled_reason == delivery.reason
    await jobs.end(None)
    await asyncio.sleep(0.3)
    assert len(receiver.requests) == 1
    receiver.behave = lambda _: Answer()
    test = await webhooks.test_endpoint(Caller(jobs.parts, "t"), "we_1")
    found = await jobs.end_of(test.id)
    assert (found.status, found.type, found.job) == ("delivered", "webhook.test", None)


async def test_an_address_that_is_not_allowed_any_more_is_not_called_and_the_ledger_says_so(
    settings: Settings, store: Store, receiver: Receiver
) -> None:
    strict = Parts(settings.model_copy(update={"allowed_networks": ()}), store, served())
    jobs = Jobs(strict)
    job_id = await jobs.end(receiver.hook() | {"url": receiver.url.replace("http://", "https://")})
    sending = asyncio.create_task(send_webhooks(strict, BASE))
    delivery = await jobs.settled(job_id)
    sending.cancel()
    assert receiver.requests == []
    assert {each.status for each in delivery.tries} == {None}
    assert all("not public" in (each.error or "") for each in delivery.tries)


async def test_a_slow_receiver_holds_nobody_else_up(settings: Settings, store: Store, receiver: Receiver) -> None:
    parts = Parts(settings.model_copy(update={"webhook_timeout": 10.0}), store, served())
    jobs = Jobs(parts)
    with Receiver(lambda _: Answer(pause=8.0)) as slow:
        for _ in range(10 * MOST):
            await jobs.end(slow.hook())
        sending = asyncio.create_task(send_webhooks(parts, BASE))
        delivery = await jobs.settled(await jobs.end(receiver.hook()))
        assert delivery.status == "delivered"
        # Many times what could be on its way is due at the slow one before it, and none of that is through yet.
        assert 0 < len(slow.requests) <= MOST_TO_ONE
        sending.cancel()


async def test_what_was_due_while_nobody_sent_is_sent_when_somebody_does(settings: Settings, store: Store, receiver: Receiver) -> None:
    parts = Parts(settings, store, served())
    jobs = Jobs(parts)
    ids = [await jobs.end(receiver.hook()) for _ in range(100)]
    sending = asyncio.create_task(send_webhooks(parts, BASE))
    assert {(await jobs.settled(job_id, within=60)).status for job_id in ids} == {"delivered"}
    sending.cancel()
    assert len(receiver.requests) == 100


async def test_the_first_try_waits_as_long_as_the_schedule_says(settings: Settings, receiver: Receiver) -> None:
    patient = settings.model_copy(update={"webhook_schedule": (0.6, 0.1)})
    parts = Parts(patient, Store(settings.redis_url, patient, ticket_template()), served())
    jobs = Jobs(parts)
    job_id = await jobs.end(receiver.hook())
    sending = asyncio.create_task(send_webhooks(parts, BASE))
    delivery = await jobs.settled(job_id)
    sending.cancel()
    await parts.store.close()
    assert [each.status for each in delivery.tries] == [200]
    assert delivery.tries[0].at - delivery.created >= 500
