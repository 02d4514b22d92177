"""What jobs ask, and who may answer it: with a key, or by a signed URL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from tests.integration.api.conftest import API, PlayedWorker, app_of, calling
from tests.integration.api.stored import ANN, BOB, add
from tests.integration.api.test_signed_urls import bit_flips
from tests.integration.api.trees import DECISION, ask, mark_as, running

from longrun.blobs.signing import sign_signal
from longrun.clock import new_job_id
from longrun.jobs.file_refs import as_output
from longrun.settings import Settings
from longrun.store.store import Store

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def asking(submit: Callable[..., Any], store: Store) -> str:
    """Id of a job that asks for `approve`."""
    job_id: str = (await submit())["id"]
    await ask(store, job_id, "approve", ask={"draft": "x"})
    return job_id


def signals(job_id: str, name: str = "approve") -> str:
    return f"{API}/jobs/{job_id}/signals/{name}"


async def stored(store: Store, job_id: str, name: str = "approve") -> bytes | None:
    value: bytes | None = await store.connection.command("HGET", f"{store.prefix}steps:{job_id}", f"v:{name}")
    return value


async def test_a_job_shows_what_it_asks_until_it_is_answered(caller: httpx.AsyncClient, asking: str) -> None:
    (asked,) = (await caller.get(f"{API}/jobs/{asking}")).json()["asks"]
    assert (asked["name"], asked["ask"], asked["schema"]) == ("approve", {"draft": "x"}, DECISION)
    assert asked["urls"]["signal"].startswith(signals(asking) + "?expires=")
    assert "asks" not in (await caller.get(f"{API}/jobs")).json()["jobs"][0]
    answer = await caller.post(signals(asking), json={"ok": True})
    assert (answer.status_code, answer.json()) == (200, {"name": "approve", "job_id": asking, "open": False, "asked": None})
    assert (await caller.get(f"{API}/jobs/{asking}")).json()["asks"] == []


async def test_an_answer_counts_once_and_may_be_repeated(caller: httpx.AsyncClient, store: Store, asking: str) -> None:
    path = signals(asking)
    for body in (b'{"ok":true,"note":"a"}', b' { "note" : "\\u0061", "ok" : true } '):
        assert (await caller.post(path, content=body, headers=JSON)).status_code == 200
    other = await caller.post(path, json={"ok": False})
    assert (other.status_code, other.json()["code"], other.json()["retryable"]) == (409, "already-answered", False)
    assert await stored(store, asking) == b'{"note":"a","ok":true}'


async def test_of_a_hundred_answers_at_once_one_counts(caller: httpx.AsyncClient, store: Store, asking: str) -> None:
    answers = await asyncio.gather(*(caller.post(signals(asking), json={"ok": True, "note": str(n // 2)}) for n in range(100)))
    assert [answer.status_code for answer in answers].count(200) == 2
    assert {answer.status_code for answer in answers} == {200, 409}


WRONG_VALUES: list[tuple[bytes, list[str]]] = [
    (b"{}", ["/ok"]), (b'{"ok":1}', ["/ok"]), (b'{"ok":true,"more":1}', ["/more"]), (b"[]", [""]), (b"null", [""]), (b'"yes"', [""]),
    (b'{"ok":true,"note":' + b"[" * 60 + b"]" * 60 + b"}", ["/note"]), (b'{"ok":NaN}', ["/ok"]), (b'{"ok":true,"ok":false}', ["/ok"]),
    (b'{"ok":true,"note":"\\ud800"}', ["/note"]), (b'{"ok":true,"note":"\\u0000"}', ["/note"]), (b"[" * 70 + b"]" * 70, [""]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "pointers"), WRONG_VALUES, ids=lambda each: str(each)[:30])
async def test_what_is_no_answer_to_it_is_refused_and_changes_nothing(
    caller: httpx.AsyncClient, store: Store, asking: str, body: bytes, pointers: list[str]
) -> None:
    answer = await caller.post(signals(asking), content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation-failed")
    assert [each["pointer"] for each in answer.json()["errors"]] == pointers
    assert await stored(store, asking) is None
    assert (await caller.post(signals(asking), json={"ok": True})).status_code == 200


@pytest.mark.parametrize(
    ("request_of", "answered"),
    [
        ({"content": b"{"}, (400, "validation-failed")),
        ({"content": b""}, (400, "validation-failed")),
        ({"content": b'"\xff"'}, (400, "validation-failed")),
        ({"content": b"ok=true", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, (415, "unsupported-media")),
        ({"content": b"true", "headers": {"Content-Type": "text/plain"}}, (415, "unsupported-media")),
        ({"content": b"true", "headers": JSON | {"Content-Encoding": "gzip"}}, (415, "unsupported-media")),
        ({"content": b'"' + b"x" * (64 * 1024) + b'"'}, (413, "payload-too-large")),
        ({"content": b'{"ok":true}' + b" " * (64 * 1024)}, (413, "payload-too-large")),
        ({"content": b"[" + b"1e15," * 13_000 + b"1]"}, (413, "payload-too-large")),
    ],
    ids=lambda each: str(each)[:40],
)
async def test_a_body_that_is_no_small_json_is_refused(
    caller: httpx.AsyncClient, store: Store, asking: str, request_of: dict[str, Any], answered: tuple[int, str]
) -> None:
    answer = await caller.post(signals(asking), **{"headers": JSON} | request_of)
    assert (answer.status_code, answer.json()["code"]) == answered
    assert await stored(store, asking) is None


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_other_methods_are_not_allowed(caller: httpx.AsyncClient, asking: str, method: str) -> None:
    answer = await caller.request(method, signals(asking))
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize("name", ["a b", "é", ".", "-x", "x" * 101, "a%2Fb", "%00", "a\u2028b", "*"])
async def test_a_name_that_no_job_can_ask_under_is_refused(caller: httpx.AsyncClient, asking: str, name: str) -> None:
    path = f"{API}/jobs/{asking}/signals/" + name.replace("é", "%C3%A9").replace(" ", "%20").replace("\u2028", "%E2%80%A8").replace(
        ".", "%2E"
    )
    for answer in (await caller.post(path, json=1), await caller.get(path)):
        assert answer.status_code in (404, 422) and answer.json()["code"] in ("not-found", "validation-failed")


async def test_an_answer_may_come_before_the_question(caller: httpx.AsyncClient, submit: Any, store: Store) -> None:
    job_id = (await submit())["id"]
    assert (await caller.get(signals(job_id))).json() == {"name": "approve", "job_id": job_id, "open": False, "asked": None}
    assert (await caller.post(signals(job_id), json=[1])).status_code == 200
    assert (await caller.post(signals(job_id), json=[2])).json()["code"] == "already-answered"
    for n in range(99):
        assert (await caller.post(signals(job_id, f"n{n}"), json=n)).status_code == 200
    full = await caller.post(signals(job_id, "one-more"), json=1)
    assert (full.status_code, full.json()["code"]) == (409, "quota-exceeded")


async def test_when_nobody_waits_any_longer_an_answer_is_refused(
    caller: httpx.AsyncClient, submit: Any, store: Store, worker: PlayedWorker, asking: str
) -> None:
    await ask(store, asking, "late", seconds=0)
    for _ in range(2):
        late = await caller.post(signals(asking, "late"), json={"ok": True})
        assert (late.status_code, late.json()["code"]) == (409, "wait-timeout")
    ended = (await submit())["id"]
    await caller.post(signals(ended, "early"), json=1)
    await worker.succeed(ended)
    refused = await caller.post(signals(ended), json=1)
    assert (refused.status_code, refused.json()["code"]) == (409, "job-ended")
    assert (await caller.post(signals(ended, "early"), json=1)).status_code == 200
    await caller.delete(f"{API}/jobs/{ended}")
    for path in (signals(ended), signals(new_job_id()), signals("job_x")):
        for answer in (await caller.post(path, json=1), await caller.get(path)):
            assert (answer.status_code, answer.json()["code"]) in ((404, "job-not-found"), (410, "job-gone"))
    assert (await caller.post(signals(ended), json=1)).status_code == 410


async def test_what_is_asked_may_hold_files(caller: httpx.AsyncClient, store: Store, asking: str) -> None:
    file = await add(caller)
    ref = await store.files.read(file["id"], "default")
    await ask(store, asking, "picture", ask={"picture": as_output(ref.ref)})
    _, asked = (await caller.get(f"{API}/jobs/{asking}")).json()["asks"]
    assert (await caller.get(asked["ask"]["picture"]["url"])).status_code == 200


# -- signed URLs -------------------------------------------------------------------------------------------------------------


class Asked:
    """A job of ann's that asks, with its signed URL."""

    def __init__(self, job_id: str, url: str) -> None:
        self.job_id, self.url = job_id, url
        self.path, _, self.query = url.partition("?")


async def asked_of(caller: httpx.AsyncClient, store: Store) -> Asked:
    job_id = (await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}}, headers=ANN)).json()["id"]
    await ask(store, job_id, "approve", ask="why?")
    (asked,) = (await caller.get(f"{API}/jobs/{job_id}", headers=ANN)).json()["asks"]
    return Asked(job_id, asked["urls"]["signal"])


async def test_whoever_has_the_url_sees_the_question_and_answers_it_and_does_nothing_else(keyed: Settings, store: Store) -> None:
    async with calling(app_of(keyed)) as caller:
        asked = await asked_of(caller, store)
        shown = (await caller.get(asked.url)).json()
        assert (shown["open"], shown["asked"]["ask"], "urls" in shown["asked"]) == (True, "why?", False)
        assert (await caller.head(asked.url)).status_code == 200
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
            assert (await caller.request(method, asked.url)).status_code == 401
        job = f"{API}/jobs/{asked.job_id}"
        for path in (job, f"{job}/cancel", f"{job}/tree", f"{API}/jobs", f"{asked.path}/x"):
            for method in ("GET", "POST", "DELETE"):
                assert (await caller.request(method, f"{path}?{asked.query}")).status_code == 401, (method, path)
        assert (await caller.post(asked.path, json={"ok": True})).status_code == 401
        assert (await caller.post(asked.path, json={"ok": True}, headers=BOB)).status_code == 404
        assert (await caller.post(asked.url, json={"ok": 1})).status_code == 422
        assert (await caller.post(asked.url, json={"ok": True}, headers=BOB)).status_code == 200
        assert (await caller.post(asked.url, json={"ok": True})).status_code == 200
        assert (await caller.post(asked.url, json={"ok": False})).json()["code"] == "already-answered"
        assert (await caller.get(asked.url)).json()["open"] is False


async def test_looking_answers_nothing(keyed: Settings, store: Store) -> None:
    """Scanners of mails follow links."""
    async with calling(app_of(keyed)) as caller:
        asked = await asked_of(caller, store)
        before = await store.connection.command("HGETALL", f"{store.prefix}job:{asked.job_id}")
        for method in ("GET", "HEAD"):
            for _ in range(3):
                await caller.request(method, asked.url, content=b'{"ok":true}', headers=JSON)
        assert await stored(store, asked.job_id) is None
        assert await store.connection.command("HGETALL", f"{store.prefix}job:{asked.job_id}") == before


async def test_a_url_that_was_changed_opens_nothing(keyed: Settings, store: Store) -> None:
    async with calling(app_of(keyed)) as caller:
        asked, other, file = await asked_of(caller, store), await asked_of(caller, store), await add(caller, headers=ANN)
        urls = [f"{asked.path}?{each}" for each in bit_flips(asked.query)]
        pairs = dict(parse_qsl(asked.query))
        urls += [f"{asked.path}?{urlencode(pairs | more)}" for more in ({"sig": ""}, {"sig": "é"}, {"expires": "99999999999"}, {"x": "1"})]
        urls += [f"{other.path}?{asked.query}", f"{asked.path}2?{asked.query}", f"{signals(new_job_id())}?{asked.query}"]
        urls += [f"{asked.path}?{file['url'].partition('?')[2]}", f"{API}/files/{file['id']}/content?{asked.query}"]
        for url in urls:
            answer = await caller.get(url)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), url
        for url in urls[-8:-1]:
            assert (await caller.post(url, json={"ok": True})).status_code == 403
        assert await stored(store, asked.job_id) is None


async def test_a_url_ends_with_the_time_for_the_answer(keyed: Settings, store: Store) -> None:
    async with calling(app_of(keyed)) as caller:
        asked = await asked_of(caller, store)
        secret = await store.files.secret()
        for until, status in ((time.time() + 30, 200), (time.time() - 2, 403)):
            query = sign_signal(secret, tenant="ann", job=asked.job_id, name="approve", until=until)
            assert (await caller.get(f"{asked.path}?{query}")).status_code == status
            assert (await caller.post(f"{asked.path}?{query}", json={"ok": True})).status_code == status
        of_bob = sign_signal(secret, tenant="bob", job=asked.job_id, name="approve", until=time.time() + 30)
        assert (await caller.get(f"{asked.path}?{of_bob}")).status_code == 403


async def test_the_url_is_the_same_each_time_and_of_each_process(keyed: Settings, store: Store) -> None:
    async with calling(app_of(keyed)) as caller:
        asked = await asked_of(caller, store)
        async with calling(app_of(keyed)) as another:
            (shown,) = (await another.get(f"{API}/jobs/{asked.job_id}", headers=ANN)).json()["asks"]
            assert shown["urls"]["signal"] == asked.url


async def test_the_asks_of_a_job_with_very_many_are_all_shown(caller: httpx.AsyncClient, store: Store, asking: str) -> None:
    names = [f"n{n}" for n in range(250)]
    await ask(store, asking, *names)
    assert {each["name"] for each in (await caller.get(f"{API}/jobs/{asking}")).json()["asks"]} == {"approve", *names}


async def test_a_job_that_has_ended_asks_nothing(caller: httpx.AsyncClient, store: Store, asking: str) -> None:
    assert await store.claims.finish(asking, await running(store, asking), "succeeded", b"1") is None
    await caller.post(f"{API}/jobs/{asking}/cancel")
    await mark_as(store, asking, status="canceled", asks="approve")
    assert (await caller.get(f"{API}/jobs/{asking}")).json()["asks"] == []
    assert (await caller.get(signals(asking))).json()["open"] is False
