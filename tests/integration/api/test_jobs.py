"""/jobs over a real store: every status that each route has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import API, PlayedWorker, app_of, calling

from longrun.settings import Settings

UNKNOWN = f"{API}/jobs/job_{'0' * 32}"
Submit = Callable[..., Any]
#: Seconds for the answer to a wait whose end has come: much less than the wait itself, which is of 60.
WOKEN = 40


@pytest.mark.parametrize("tail", ["", "/result", "/output", "/events", "/attempts"])
async def test_an_unknown_job_is_404_and_a_deleted_one_410(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker, tail: str
) -> None:
    for url in (UNKNOWN, f"{API}/jobs/nonsense", f"{API}/jobs/%00", f"{API}/jobs/job_{'G' * 32}", f"{API}/jobs/{'x' * 2000}"):
        answer = await caller.get(url + tail)
        assert (answer.status_code, answer.json()["code"]) == (404, "job-not-found")
    job = await submit()
    await worker.succeed(job["id"])
    assert (await caller.delete(job["urls"]["self"])).status_code == 204
    answer = await caller.get(job["urls"]["self"] + tail)
    assert (answer.status_code, answer.json()["code"]) == (410, "job-gone")


@pytest.mark.parametrize("verb", ["cancel", "retry"])
async def test_acting_on_an_unknown_or_deleted_job_is_404_or_410(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker, verb: str
) -> None:
    assert (await caller.post(f"{UNKNOWN}/{verb}")).status_code == 404
    job = await submit()
    await worker.fail(job["id"])
    await caller.delete(job["urls"]["self"])
    assert (await caller.post(f"{job['urls']['self']}/{verb}")).status_code == 410
    assert (await caller.delete(job["urls"]["self"])).status_code == 410
    assert (await caller.delete(UNKNOWN)).status_code == 404


async def test_a_job_is_shown_through_its_life(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    await submit()
    job = await submit()
    url = job["urls"]["self"]
    assert (await caller.get(url)).json()["position"] == 2
    claim = await worker.claim(job["id"])
    await worker.append(claim, 0, ("progress", {"fraction": 0.5}), progress={"fraction": 0.5, "step": "half", "message": None})
    answer = await caller.get(url)
    running = answer.json()
    assert (running["status"], running["attempt"], running["position"], answer.headers["retry-after"]) == ("running", 1, None, "1")
    assert running["progress"]["fraction"] == 0.5 and running["progress"]["updated_at"]
    await worker.store.claims.finish(job["id"], "1/n", "succeeded", b'{"a":[1]}', b'{"run_s":0.5}')
    answer = await caller.get(url)
    done = answer.json()
    assert (done["status"], done["terminal"], done["output"], done["error"]) == ("succeeded", True, {"a": [1]}, None)
    assert done["usage"]["run_s"] == 0.5 and done["finished_at"] and done["expires_at"] and "retry-after" not in answer.headers


async def test_the_version_is_the_etag_and_304_says_nothing_is_new(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    url = job["urls"]["self"]
    etag = (await caller.get(url)).headers["etag"]
    assert etag == '"1"'
    for known in (etag, f"W/{etag}", f'"9", {etag}', "*"):
        answer = await caller.get(url, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    await worker.claim(job["id"])
    answer = await caller.get(url, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')


async def test_a_long_poll_wakes_as_soon_as_the_job_ends(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    waiting = asyncio.create_task(caller.get(job["urls"]["self"], headers={"Prefer": "wait=60"}))
    await asyncio.sleep(0.3)
    claim = await worker.claim(job["id"])
    await worker.append(claim, 0, ("progress", {}), progress={"fraction": 0.1})
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await worker.store.claims.finish(job["id"], "1/n", "succeeded", b"1")
    answer = await asyncio.wait_for(waiting, WOKEN)
    assert (answer.status_code, answer.json()["output"], answer.headers["preference-applied"]) == (200, 1, "wait=60")


async def test_two_hundred_long_polls_of_one_job_all_wake(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    waiting = [asyncio.create_task(caller.get(job["urls"]["self"], headers={"Prefer": "wait=60"})) for _ in range(200)]
    await asyncio.sleep(0.3)
    assert not any(each.done() for each in waiting)
    await worker.succeed(job["id"])
    answers = await asyncio.wait_for(asyncio.gather(*waiting), WOKEN)
    assert {answer.json()["status"] for answer in answers} == {"succeeded"}


async def test_no_wake_up_is_lost_between_reading_and_listening(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    for pause in (0, 0.001, 0.002, 0.004, 0.008):
        for _ in range(10):
            job = await submit()
            waiting = asyncio.create_task(caller.get(job["urls"]["self"], headers={"Prefer": "wait=60"}))
            await asyncio.sleep(pause)
            await worker.succeed(job["id"])
            assert (await asyncio.wait_for(waiting, WOKEN)).json()["status"] == "succeeded"


async def test_a_wait_for_a_change_ends_with_the_first_one(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    headers = {"Prefer": "wait=20", "If-None-Match": '"1"'}
    waiting = asyncio.create_task(caller.get(job["urls"]["self"], headers=headers))
    await asyncio.sleep(0.2)
    await worker.claim(job["id"])
    answer = await waiting
    assert (answer.status_code, answer.json()["status"], answer.headers["etag"]) == (200, "running", '"2"')


async def test_a_wait_for_a_change_that_does_not_come_is_304(caller: httpx.AsyncClient, submit: Submit) -> None:
    job = await submit()
    answer = await caller.get(job["urls"]["self"], headers={"Prefer": "wait=1", "If-None-Match": '"1"'})
    assert (answer.status_code, answer.headers["preference-applied"]) == (304, "wait=1")


async def test_a_wait_that_ends_early_shows_the_job_as_it_is(caller: httpx.AsyncClient, submit: Submit) -> None:
    job = await submit()
    answer = await caller.get(job["urls"]["self"], headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")


async def test_a_job_canceled_while_somebody_waits_wakes_them(caller: httpx.AsyncClient, submit: Submit, store: Any) -> None:
    job = await submit()
    waiting = asyncio.create_task(caller.get(job["urls"]["self"], headers={"Prefer": "wait=20", "If-None-Match": '"1"'}))
    await asyncio.sleep(0.2)
    await store.records.cancel(job["id"], "default")
    assert (await waiting).json()["status"] == "canceled"


async def test_the_result_is_the_output_itself(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    for output in (b'"text"', b"null", b"[1.5,{}]", b"123456789012345678901234567890"):
        job = await submit()
        await worker.succeed(job["id"], output)
        answer = await caller.get(job["urls"]["result"])
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, output, "application/json")


async def test_the_result_of_an_unfinished_job_is_202_and_the_job(caller: httpx.AsyncClient, submit: Submit) -> None:
    job = await submit()
    answer = await caller.get(job["urls"]["result"])
    assert (answer.status_code, answer.json()["id"], answer.headers["retry-after"]) == (202, job["id"], "1")


async def test_the_result_of_a_job_that_failed_is_424_and_its_problem(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    job = await submit()
    await worker.fail(job["id"], cause="ValueError", debug="the operator's traceback")
    answer = await caller.get(job["urls"]["result"])
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (424, "application/problem+json")
    assert (problem["code"], problem["job_id"], problem["attempt"], problem["cause"]) == ("model-error", job["id"], 1, "ValueError")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "traceback" not in answer.text and "traceback" not in (await caller.get(job["urls"]["self"])).text


async def test_the_operators_text_is_shown_when_the_operator_says_so(settings: Settings, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    await worker.fail(job["id"], debug="the operator's traceback")
    async with calling(app_of(settings.model_copy(update={"expose_errors": True}))) as open_caller:
        assert (await open_caller.get(job["urls"]["result"])).json()["debug"] == "the operator's traceback"


async def test_a_result_that_is_not_kept_is_410(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit(policy={"retain_for": 0})
    await worker.succeed(job["id"])
    await worker.store.connection.command("ZADD", f"{worker.store.prefix}expire", "1", job["id"])
    await worker.store.upkeep.expire()
    assert (await caller.get(job["urls"]["result"])).status_code == 410
    assert (await caller.get(job["urls"]["self"])).json()["status"] == "succeeded"


async def test_a_queued_job_is_canceled_at_once_and_a_running_one_is_told(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    queued, running, done = await submit(), await submit(), await submit()
    answer = await caller.post(queued["urls"]["cancel"])
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    await worker.claim(running["id"])
    for _ in range(2):
        answer = await caller.post(running["urls"]["cancel"])
        assert (answer.status_code, answer.json()["status"]) == (202, "canceling")
    await worker.succeed(done["id"])
    answer = await caller.post(done["urls"]["cancel"])
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert (await caller.get(queued["urls"]["result"])).json()["code"] == "canceled"


async def test_a_retry_is_a_new_job_and_the_same_one_when_asked_again(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    job = await submit({"value": "again"}, tags=["t"])
    await worker.fail(job["id"])
    answer = await caller.post(f"{job['urls']['self']}/retry")
    fresh = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, fresh["urls"]["self"])
    assert (fresh["retry_of"], fresh["status"], fresh["tags"]) == (job["id"], "queued", ["t"])
    assert (await caller.get(job["urls"]["self"])).json()["retried_by"] == fresh["id"]
    assert (await caller.post(f"{job['urls']['self']}/retry")).json()["id"] == fresh["id"]
    assert (await worker.claim(fresh["id"])).input == b'{"value":"again"}'


async def test_only_a_job_that_did_not_succeed_can_be_retried(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    assert (await caller.post(f"{job['urls']['self']}/retry")).json()["code"] == "not-retryable"
    await worker.succeed(job["id"])
    answer = await caller.post(f"{job['urls']['self']}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "not-retryable")


async def test_only_an_ended_job_can_be_deleted(caller: httpx.AsyncClient, submit: Submit) -> None:
    job = await submit()
    answer = await caller.delete(job["urls"]["self"])
    assert (answer.status_code, answer.json()["code"]) == (409, "not-finished")


async def test_attempts_tell_who_ran_it_and_how_it_went(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit({"image": "x"}, "captioner")
    url = f"{job['urls']['self']}/attempts"
    assert (await caller.get(url)).json() == {"attempts": []}
    await worker.claim(job["id"], "w1")
    await worker.store.claims.retry_later(job["id"], "1/n", 0.0, b'{"code":"model-error","detail":"x","attempt":1}')
    await asyncio.sleep(0.01)
    await worker.store.upkeep.release_due()
    await worker.claim(job["id"], "w2")
    first, second = (await caller.get(url)).json()["attempts"]
    assert (first["worker"], first["outcome"], first["error"]["code"]) == ("w1", "retrying", "model-error")
    assert (second["attempt"], second["worker"], second["outcome"], second["finished_at"]) == (2, "w2", None, None)


@pytest.mark.parametrize(
    ("model", "input", "outputs", "so_far"),
    [
        ("story", {"prompt": "x"}, ["once ", "upon"], "once upon"),
        ("story", {"prompt": "x"}, [], ""),
        ("count", {"to": 1}, [0, 1, 2], [0, 1, 2]),
        ("count", {"to": 1}, [], []),
        ("echo", {"value": 1}, [], None),
    ],
)
async def test_the_output_so_far_is_that_of_the_current_attempt(  # noqa: PLR0917
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker, model: str, input: Any, outputs: list[Any], so_far: Any
) -> None:
    job = await submit(input, model)
    url = f"{job['urls']['self']}/output"
    claim = await worker.claim(job["id"])
    await worker.append(claim, 0, ("output", {"value": "of an attempt that was lost"}))
    await worker.store.claims.hand_back(job["id"], "1/n", "release")
    claim = await worker.claim(job["id"], "w2")
    await worker.append(claim, 0, *[("output", {"value": value}) for value in outputs], ("log", {"level": "info", "message": "x"}))
    assert (await caller.get(url)).json() == {"attempt": 2, "status": "running", "complete": False, "truncated": False, "output": so_far}
    await worker.store.claims.finish(job["id"], "2/n", "succeeded", b'"whole"')
    assert (await caller.get(url)).json() == {"attempt": 2, "status": "succeeded", "complete": True, "truncated": False, "output": "whole"}


async def test_the_output_so_far_is_read_page_by_page(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit({"to": 1}, "count")
    claim = await worker.claim(job["id"])
    for first in range(0, 1200, 400):
        await worker.append(claim, first, *[("output", {"value": first + n}) for n in range(400)])
    assert (await caller.get(f"{job['urls']['self']}/output")).json()["output"] == list(range(1200))


async def test_a_listing_is_newest_first_and_pages_through_all(caller: httpx.AsyncClient, submit: Submit) -> None:
    ids = [(await submit())["id"] for _ in range(7)]
    seen: list[str] = []
    url: str | None = f"{API}/jobs?limit=3"
    while url:
        answer = await caller.get(url)
        page = answer.json()
        seen += [job["id"] for job in page["jobs"]]
        assert all("output" not in job for job in page["jobs"])
        assert (f'<{page["next"]}>; rel="next"' == answer.headers["link"]) if page["next"] else "link" not in answer.headers
        url = page["next"]
    assert seen == ids[::-1]


async def test_a_listing_can_be_narrowed(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    plain, tagged, failed = await submit(), await submit(tags=["a", "b"]), await submit({"to": 1}, "count")
    await worker.fail(failed["id"])

    async def ids(query: str) -> list[str]:
        return [job["id"] for job in (await caller.get(f"{API}/jobs?{query}")).json()["jobs"]]

    assert await ids("model=count") == [failed["id"]]
    assert await ids("status=failed") == [failed["id"]]
    assert await ids("tag=a") == await ids("tag=b") == [tagged["id"]]
    assert await ids("tag=,") == await ids('tag=","') == await ids("tag=nothing") == await ids("model=%00") == []
    assert await ids("status=queued&model=echo") == [tagged["id"], plain["id"]]
    assert await ids("created_after=2100-01-01T00:00:00Z") == []
    assert len(await ids("created_after=2020-01-01")) == 3
    assert len(await ids("nonsense=1")) == 3


async def test_a_narrowed_listing_pages_through_many(caller: httpx.AsyncClient, submit: Submit) -> None:
    wanted = [(await submit(tags=["x"] if n % 10 == 0 else []))["id"] for n in range(250)][::10]
    seen: list[str] = []
    url: str | None = f"{API}/jobs?tag=x&limit=7"
    while url:
        page = (await caller.get(url)).json()
        seen += [job["id"] for job in page["jobs"]]
        url = page["next"]
    assert seen == wanted[::-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "status=nonsense", "created_after=x", "cursor=x", "cursor="])
async def test_a_query_that_means_nothing_is_422(caller: httpx.AsyncClient, query: str) -> None:
    for path in ("jobs", "dead-letters"):
        answer = await caller.get(f"{API}/{path}?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "validation-failed")
        assert answer.json()["errors"][0]["pointer"].startswith("/query/")


async def test_head_is_answered_wherever_get_is(caller: httpx.AsyncClient, submit: Submit) -> None:
    job = await submit()
    for url in (job["urls"]["self"], job["urls"]["events"], f"{API}/jobs", "/livez", "/metrics"):
        assert (await caller.head(url)).status_code == 200


async def test_a_method_that_a_path_does_not_have_is_405_and_says_which_it_has(caller: httpx.AsyncClient, submit: Submit) -> None:
    job = await submit()
    answer = await caller.put(job["urls"]["self"])
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, HEAD")
    assert (await caller.get(job["urls"]["cancel"])).headers["allow"] == "POST"


async def test_two_tenants_never_see_each_others_jobs(settings: Settings, worker: PlayedWorker) -> None:
    keyed = Settings(**{**settings.model_dump(), "api_keys": {"ann": "a-key", "bob": "b-key"}})
    async with calling(app_of(keyed)) as caller:
        ann, bob = {"Authorization": "Bearer a-key"}, {"Authorization": "Bearer b-key"}
        key = {"Idempotency-Key": "same"}
        job = (await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}}, headers=ann | key)).json()
        other = (await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}}, headers=bob | key)).json()
        assert job["id"] != other["id"]
        await worker.fail(job["id"])
        for method, tail in [
            ("GET", ""),
            ("GET", "/result"),
            ("GET", "/output"),
            ("GET", "/events"),
            ("GET", "/attempts"),
            ("POST", "/cancel"),
            ("POST", "/retry"),
            ("DELETE", ""),
        ]:
            foreign = await caller.request(method, job["urls"]["self"] + tail, headers=bob)
            unknown = await caller.request(method, UNKNOWN + tail, headers=bob)
            assert (foreign.status_code, foreign.json()["code"]) == (unknown.status_code, unknown.json()["code"]) == (404, "job-not-found")
        assert [each["id"] for each in (await caller.get(f"{API}/jobs", headers=bob)).json()["jobs"]] == [other["id"]]
        assert (await caller.get(f"{API}/dead-letters", headers=bob)).json()["jobs"] == []
        redriven = await caller.post(f"{API}/dead-letters/redrive", json={"ids": [job["id"]]}, headers=bob)
        assert redriven.json() == {"redriven": [], "skipped": [{"id": job["id"], "code": "job-not-found"}], "left": 0, "next": None}
        assert (await caller.get(job["urls"]["self"])).status_code == 401
        assert (await caller.get("/livez")).status_code == 200


async def test_a_tenants_key_cannot_reach_into_another_tenants_name(settings: Settings) -> None:
    keyed = Settings(**{**settings.model_dump(), "api_keys": {"a": "1", "a:b": "2"}})
    async with calling(app_of(keyed)) as caller:
        for token, key in (("1", "b:c"), ("2", "c")):
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
            answer = await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": token}}, headers=headers)
            assert answer.status_code == 202


async def test_error_texts_never_hold_what_the_store_said(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    await worker.store.connection.command("SET", f"{worker.store.prefix}job:{job['id']}x", "1")
    await worker.store.connection.command("DEL", f"{worker.store.prefix}job:{job['id']}")
    await worker.store.connection.command("SET", f"{worker.store.prefix}job:{job['id']}", "not a hash")
    answer = await caller.get(job["urls"]["self"])
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert "WRONGTYPE" not in answer.text and "longrun" not in answer.json()["detail"]
