"""POST /models/{model}/jobs over a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import API, PlayedWorker, app_of, calling

from longrun.settings import Settings

ECHO = f"{API}/models/echo/jobs"


async def test_a_submit_is_answered_with_the_job_and_where_it_is(caller: httpx.AsyncClient) -> None:
    body = {"input": {"value": [1]}, "priority": 7, "tags": ["a"], "metadata": {"k": 1}, "policy": {"timeout": 5}}
    answer = await caller.post(ECHO, json=body)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == job["urls"]["self"] == f"{API}/jobs/{job['id']}"
    assert answer.headers["retry-after"] == "1" and answer.headers["cache-control"] == "no-store"
    assert (job["status"], job["terminal"], job["position"], job["version"], job["priority"]) == ("queued", False, 1, 1, 7)
    assert (job["tags"], job["metadata"], job["policy"]["timeout"], job["queue"]) == (["a"], {"k": 1}, 5, "default")


async def test_the_answer_is_what_a_read_gives(caller: httpx.AsyncClient, submit: Callable[..., Any]) -> None:
    for members in ({}, {"delay": 30}, {"tags": ["a", "b"], "metadata": {"x": {}}}):
        job = await submit(**members)
        assert (await caller.get(job["urls"]["self"])).json() == job


async def test_positions_count_up(submit: Callable[..., Any]) -> None:
    assert [(await submit())["position"] for _ in range(3)] == [1, 2, 3]
    assert (await submit(priority=9))["position"] == 1


async def test_a_delayed_job_is_scheduled(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(ECHO, json={"input": {"value": 1}, "delay": 30})
    job = answer.json()
    assert (job["status"], job["queued_at"], job["position"]) == ("scheduled", None, None)
    assert job["next_attempt_at"] > job["created_at"] and answer.headers["retry-after"] in ("30", "31")


async def test_the_worker_gets_the_input_exactly(submit: Callable[..., Any], worker: PlayedWorker) -> None:
    job = await submit({"value": {"n": 10**30, "t": "é😀"}})
    assert (await worker.claim(job["id"])).input == '{"value":{"n":1000000000000000000000000000000,"t":"é😀"}}'.encode()


@pytest.mark.parametrize(
    ("model", "input", "pointer"),
    [
        ("captioner", {"image": ""}, "/input/image"),
        ("captioner", {}, "/input/image"),
        ("captioner", {"image": "x", "max_tokens": 201}, "/input/max_tokens"),
        ("captioner", {"image": "x", "look": {"zoom": 0}}, "/input/look/zoom"),
        ("captioner", {"image": "x", "nonsense": 1}, "/input/nonsense"),
        ("echo", [], "/input"),
        ("echo", None, "/input"),
        ("count", {"to": 1.5}, "/input/to"),
    ],
)
async def test_an_input_that_does_not_fit_is_refused_with_a_pointer(
    caller: httpx.AsyncClient, model: str, input: Any, pointer: str
) -> None:
    answer = await caller.post(f"{API}/models/{model}/jobs", json={"input": input})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation-failed")
    assert pointer in [each["pointer"] for each in answer.json()["errors"]]
    assert (await caller.get(f"{API}/jobs")).json()["jobs"] == []


async def test_unknown_members_are_refused_with_a_pointer(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(ECHO, json={"input": {"value": 1}, "prioritty": 1})
    assert (answer.status_code, answer.json()["errors"]) == (422, [{"pointer": "/prioritty", "detail": "unknown member"}])


async def test_a_model_that_is_not_served_is_404_and_near_names_are_told(caller: httpx.AsyncClient) -> None:
    for name in ("captionner", "UPPER", "a.b", "%00", "é", "x" * 500):
        answer = await caller.post(f"{API}/models/{name}/jobs", json={"input": {}})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown-model")
    assert "captioner" in (await caller.post(f"{API}/models/captionner/jobs", json={})).json()["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "validation-failed"),
        (b"", "application/json", 400, "validation-failed"),
        (b'{"input": {"value": NaN}}', "application/json", 422, "validation-failed"),
        (b'{"input": {"value": 1, "value": 2}}', "application/json", 422, "validation-failed"),
        (b"[]", "application/json", 422, "validation-failed"),
        (b'{"input": {}}', "text/plain", 415, "unsupported-media"),
        (b'{"input": {}}', "", 415, "unsupported-media"),
    ],
)
async def test_a_body_that_is_no_good_json_is_refused(caller: httpx.AsyncClient, content: bytes, kind: str, status: int, code: str) -> None:
    answer = await caller.post(ECHO, content=content, headers={"Content-Type": kind} if kind else {})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_body_that_grows_over_the_limit_is_413(settings: Settings) -> None:
    async def pieces() -> Any:
        for _ in range(20):
            yield b" " * 100

    async with calling(app_of(settings.model_copy(update={"max_body": 1024}))) as caller:
        answer = await caller.post(ECHO, content=pieces(), headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "payload-too-large")


async def test_a_hundred_parallel_duplicates_make_one_job(caller: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "one"}
    answers = await asyncio.gather(*(caller.post(ECHO, json={"input": {"value": 1}}, headers=headers) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == [""] + ["true"] * 99
    assert len((await caller.get(f"{API}/jobs")).json()["jobs"]) == 1


async def test_a_key_stands_for_one_request(caller: httpx.AsyncClient) -> None:
    first = await caller.post(
        ECHO, content=b'{"input": {"value": 1}, "priority": 3}', headers={"Idempotency-Key": "k", "Content-Type": "application/json"}
    )
    same = await caller.post(
        ECHO, content=b'{"priority":3,"input":{"value":1}}', headers={"Idempotency-Key": '"k"', "Content-Type": "application/json"}
    )
    assert same.json()["id"] == first.json()["id"]
    other = await caller.post(ECHO, json={"input": {"value": 2}}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    refused = await caller.post(ECHO, json={"input": {"value": 2}}, headers={"Idempotency-Key": "a b"})
    assert refused.status_code == 400


async def test_a_replay_shows_the_job_as_it_is_now(caller: httpx.AsyncClient, worker: PlayedWorker) -> None:
    headers = {"Idempotency-Key": "k"}
    job = (await caller.post(ECHO, json={"input": {"value": 1}}, headers=headers)).json()
    await worker.succeed(job["id"])
    answer = await caller.post(ECHO, json={"input": {"value": 1}}, headers=headers)
    assert (answer.json()["status"], answer.json()["output"]) == ("succeeded", "done")


async def test_a_refused_request_binds_no_key(caller: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    assert (await caller.post(f"{API}/models/count/jobs", json={"input": {"to": "x"}}, headers=headers)).status_code == 422
    assert (await caller.post(f"{API}/models/count/jobs", json={"input": {"to": 1}}, headers=headers)).status_code == 202


async def test_a_full_lane_is_503_with_retry_after(settings: Settings) -> None:
    async with calling(app_of(settings.model_copy(update={"max_queued": 2}))) as caller:
        codes = [(await caller.post(ECHO, json={"input": {"value": 1}})).status_code for _ in range(3)]
        answer = await caller.post(ECHO, json={"input": {"value": 1}})
    assert codes == [202, 202, 503]
    assert (answer.json()["code"], answer.headers["retry-after"], answer.json()["retryable"]) == ("queue-full", "10", True)


async def test_prefer_wait_gives_200_when_the_job_ends_in_time(caller: httpx.AsyncClient, worker: PlayedWorker) -> None:
    waiting = asyncio.create_task(caller.post(ECHO, json={"input": {"value": 1}}, headers={"Prefer": "wait=60"}))
    jobs: list[Any] = []
    while not jobs:
        await asyncio.sleep(0.02)
        jobs = (await caller.get(f"{API}/jobs")).json()["jobs"]
    await asyncio.sleep(0.2)
    await worker.succeed(jobs[0]["id"])
    answer = await asyncio.wait_for(waiting, 40)  # less than the wait that it asked for
    assert (answer.status_code, answer.json()["output"], answer.headers["preference-applied"]) == (200, "done", "wait=60")
    assert "retry-after" not in answer.headers


async def test_prefer_wait_gives_202_when_it_does_not(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(ECHO, json={"input": {"value": 1}}, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"], answer.headers["retry-after"]) == (202, "queued", "1")
    answer = await caller.post(ECHO, json={"input": {"value": 1}}, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")


async def test_a_job_that_would_be_over_before_it_is_queued_is_refused(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(f"{API}/models/pay/jobs", json={"input": {"cents": 1}, "delay": 60})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/delay")


async def test_a_total_time_limit_also_limits_the_start(submit: Callable[..., Any], worker: PlayedWorker) -> None:
    job = await submit({"cents": 1}, "pay", policy={"total_timeout": 0.05})
    await asyncio.sleep(0.1)
    assert await worker.store.claims.claim(job["id"], "n", "w", "cpu") is None
