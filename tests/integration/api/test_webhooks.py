"""Webhooks over HTTP: who is told, endpoints, secrets, and the ledger. What is sent is in tests/integration/webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from tests.integration.api.conftest import API, PlayedWorker, app_of, calling

from longrun.settings import Settings

HOOK = {"url": "https://example.com/hook"}
SECRET = "whsec_" + 43 * "A" + "="


async def register(caller: httpx.AsyncClient, **members: Any) -> dict[str, Any]:
    answer = await caller.post(f"{API}/webhook-endpoints", json=HOOK | members)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{API}/webhook-endpoints/{made['id']}"
    return made


async def deliveries(caller: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await caller.get(f"{API}/webhook-deliveries", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["deliveries"]
    return found


async def test_a_job_shows_who_is_told_and_never_the_secret(caller: httpx.AsyncClient, submit: Any) -> None:
    job = await submit(webhook=HOOK | {"events": ["job.failed"], "secret": SECRET})
    assert job["webhook"] == HOOK | {"events": ["job.failed"]}
    for path in (f"/jobs/{job['id']}", "/jobs", f"/jobs/{job['id']}/events?after=0"):
        answer = await caller.get(f"{API}{path}", headers={"Accept": "application/json"})
        assert SECRET not in answer.text
    assert (await submit())["webhook"] is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.com/hook", "https://"),
        ("https://127.0.0.1/hook", "LONGRUN_ALLOWED_NETWORKS"),
        ("https://localhost/hook", "not public"),
        ("https://user:pass@example.com/", "user or a password"),
        ("ftp://example.com/", "https://"),
        ("https://example.com:22/", "Port 22"),
    ],
)
async def test_a_url_that_may_not_be_called_is_refused_before_anything_is_queued(caller: httpx.AsyncClient, url: str, words: str) -> None:
    answer = await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}, "webhook": {"url": url}})
    assert answer.status_code == 422
    (finding,) = answer.json()["errors"]
    assert finding["pointer"] == "/webhook/url"
    assert words in finding["detail"]
    assert (await caller.get(f"{API}/jobs")).json()["jobs"] == []
    answer = await caller.post(f"{API}/webhook-endpoints", json={"url": url})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/url")


async def test_an_endpoint_is_registered_changed_disabled_and_deleted(caller: httpx.AsyncClient) -> None:
    made = await register(caller, description="billing")
    path = f"{API}/webhook-endpoints/{made['id']}"
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made["events"] == ["job.succeeded", "job.failed", "job.canceled", "job.expired"]
    assert (await caller.get(path)).json() == made
    assert (await caller.get(f"{API}/webhook-endpoints")).json() == {"endpoints": [made]}
    assert (await caller.get(f"{path}/secret")).json() == {"secret": secret}
    changed = (await caller.patch(path, json={"events": ["job.started"], "disabled": True})).json()
    assert changed == made | {"events": ["job.started"], "disabled": True, "disabled_reason": "It was disabled by request."}
    assert (await caller.patch(path, json={"disabled": False})).json() == made | {"events": ["job.started"]}
    assert (await caller.delete(path)).status_code == 204
    for method, tail in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/secret"), ("POST", "/rotate-secret"), ("POST", "/test")):
        answer = await caller.request(method, path + tail, json={} if method in ("PATCH", "POST") else None)
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook-endpoint-not-found"), (method, tail)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": 1}, "/url"),
        ({**HOOK, "events": ["x"]}, "/events/0"),
        ({**HOOK, "secret": "x"}, "/secret"),
        ({**HOOK, "x": 1}, "/x"),
    ],
)
async def test_a_wrong_endpoint_is_told_where_it_is_wrong(caller: httpx.AsyncClient, body: Any, pointer: str) -> None:
    answer = await caller.post(f"{API}/webhook-endpoints", json=body)
    assert answer.status_code == 422
    assert [finding["pointer"] for finding in answer.json()["errors"]] == [pointer]


async def test_there_are_twenty_endpoints_at_most(caller: httpx.AsyncClient) -> None:
    for _ in range(20):
        await register(caller)
    answer = await caller.post(f"{API}/webhook-endpoints", json=HOOK)
    assert (answer.status_code, answer.json()["code"]) == (409, "quota-exceeded")


async def test_secrets_are_replaced(caller: httpx.AsyncClient) -> None:
    made = await register(caller, secret=SECRET)
    path = f"{API}/webhook-endpoints/{made['id']}"
    assert made["secret"] == SECRET
    fresh = (await caller.post(f"{path}/rotate-secret")).json()["secret"]
    assert fresh != SECRET
    assert (await caller.get(f"{path}/secret")).json()["secret"] == fresh
    given = (await caller.post(f"{path}/rotate-secret", json={"secret": SECRET, "overlap": 0})).json()["secret"]
    assert given == SECRET
    own = (await caller.get(f"{API}/webhook-secret")).json()["secret"]
    assert (await caller.get(f"{API}/webhook-secret")).json()["secret"] == own
    new = (await caller.post(f"{API}/webhook-secret/rotate", json={"overlap": 60})).json()["secret"]
    assert (await caller.get(f"{API}/webhook-secret")).json()["secret"] == new != own
    answer = await caller.post(f"{API}/webhook-secret/rotate", json={"overlap": -1})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/overlap")


async def test_the_ledger_lists_what_is_to_be_sent_page_by_page(caller: httpx.AsyncClient, submit: Any, worker: PlayedWorker) -> None:
    made = await register(caller)
    jobs = [await submit(webhook=HOOK | {"events": ["job.failed"]}) for _ in range(3)]
    for job in jobs:
        await worker.fail(job["id"])
    assert len(await deliveries(caller)) == 6
    (to_endpoint,) = await deliveries(caller, job=jobs[0]["id"], endpoint=made["id"])
    assert (to_endpoint["type"], to_endpoint["status"], to_endpoint["tries"]) == ("job.failed", "pending", [])
    assert (await caller.get(f"{API}/webhook-deliveries/{to_endpoint['id']}")).json() == to_endpoint
    seen, url = [], f"{API}/webhook-deliveries?limit=4"
    while url:
        page = (await caller.get(url)).json()
        seen += [each["id"] for each in page["deliveries"]]
        url = page["next"]
    assert len(seen) == len(set(seen)) == 6
    assert await deliveries(caller, status="delivered") == []
    again = await caller.post(f"{API}/webhook-deliveries/{to_endpoint['id']}/redeliver")
    assert (again.status_code, again.json()["id"]) == (202, to_endpoint["id"])


@pytest.mark.parametrize("query", ["status=done", "limit=0", "cursor=nonsense", "cursor=MS5qb2JfMQ"])
async def test_a_wrong_question_to_the_ledger_is_refused(caller: httpx.AsyncClient, query: str) -> None:
    answer = await caller.get(f"{API}/webhook-deliveries?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation-failed")


async def test_a_deleted_job_cannot_be_told_of_again(caller: httpx.AsyncClient, submit: Any, worker: PlayedWorker) -> None:
    job = await submit(webhook=HOOK)
    await worker.succeed(job["id"])
    (delivery,) = await deliveries(caller)
    assert (await caller.get(f"{API}/jobs/{job['id']}")).json()["expires_at"] is None, "it is kept until it was delivered or given up"
    await caller.delete(f"{API}/jobs/{job['id']}")
    answer = await caller.post(f"{API}/webhook-deliveries/{delivery['id']}/redeliver")
    assert (answer.status_code, answer.json()["code"]) == (410, "job-gone")


@pytest.fixture
async def two(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Callers of two tenants."""
    keyed = settings.model_copy(update={"api_keys": {"ann": SecretStr("key-of-ann"), "bob": SecretStr("key-of-bob")}})
    app = app_of(keyed)
    async with calling(app, headers={"Authorization": "Bearer key-of-ann"}) as ann:
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": "Bearer key-of-bob"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as bob:
            yield ann, bob


async def test_tenants_see_only_their_own(two: tuple[httpx.AsyncClient, httpx.AsyncClient], worker: PlayedWorker) -> None:
    ann, bob = two
    made = await register(ann)
    job = (await ann.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}, "webhook": HOOK})).json()
    other = (await bob.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}})).json()
    await worker.succeed(job["id"])
    await worker.succeed(other["id"])
    found = await deliveries(ann)
    assert {each["job"] for each in found} == {job["id"]}, "the end of another tenant's job is not told"
    assert await deliveries(bob) == await deliveries(bob, job=job["id"]) == []
    paths = [f"/webhook-endpoints/{made['id']}", f"/webhook-endpoints/{made['id']}/secret", f"/webhook-deliveries/{found[0]['id']}"]
    for path in paths:
        foreign, unknown = await bob.get(API + path), await bob.get(API + path.replace("_", "_0"))
        assert foreign.status_code == 404
        assert foreign.json()["code"] == unknown.json()["code"]
    assert (await bob.post(f"{API}/webhook-deliveries/{found[0]['id']}/redeliver")).status_code == 404
    assert (await bob.get(f"{API}/webhook-secret")).json() != (await ann.get(f"{API}/webhook-secret")).json()
