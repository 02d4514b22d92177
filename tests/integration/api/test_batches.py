"""Batches over HTTP: what is accepted, what is refused, and what becomes of the items."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import orjson
import pytest
from tests import media_files
from tests.integration.api.conftest import API, PlayedWorker, app_of, calling

from longrun.blobs.open import open_blobs
from longrun.chores.run import go_on_with_batches
from longrun.clock import item_id, new_batch_id, new_file_id
from longrun.jobs.file_refs import reference, referenced
from longrun.service.batch_feed import feed
from longrun.service.file_records import store_input
from longrun.settings import Settings
from longrun.store.store import Store

LANE = "default.echo"


async def send(caller: httpx.AsyncClient, inputs: Any, model: str = "echo", **headers: str) -> dict[str, Any]:
    answer = await caller.post(f"{API}/models/{model}/batches", json=inputs, headers=headers)
    assert answer.status_code == 202, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


def values(n: int) -> list[dict[str, Any]]:
    return [{"value": i} for i in range(n)]


def lines(*texts: str | bytes) -> bytes:
    return b"".join((text.encode() if isinstance(text, str) else text) + b"\n" for text in texts)


async def post_lines(caller: httpx.AsyncClient, body: Any, query: str = "", **headers: str) -> httpx.Response:
    return await caller.post(f"{API}/models/echo/batches{query}", content=body, headers={"Content-Type": "application/jsonl", **headers})


async def tickets(store: Store) -> list[str]:
    """Ids of the next hundred tickets."""
    popped = await store.connection.run("pop", LANE, 100)
    return [job_id.decode() for job_id in popped[2::3]]


async def chores(store: Store, settings: Settings, *batches: dict[str, Any]) -> None:
    """Have another process go on with the batches, as if time had passed, until there is nothing left to be done for them."""
    blobs = open_blobs(settings)
    for batch in batches:
        if await store.connection.command("ZSCORE", f"{store.prefix}batch-due", batch["id"]):
            await store.connection.command("ZADD", f"{store.prefix}batch-due", 0, batch["id"])
    await go_on_with_batches(store, blobs)
    blobs.close()


async def rows(caller: httpx.AsyncClient, batch: dict[str, Any], query: str = "?partial=true") -> list[dict[str, Any]]:
    answer = await caller.get(f"{API}/batches/{batch['id']}/results{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [orjson.loads(line) for line in answer.text.splitlines()]


async def end(worker: PlayedWorker, batch: dict[str, Any], indexes: Sequence[int]) -> None:
    for index in indexes:
        await worker.succeed(item_id(batch["id"], index), orjson.dumps(index * 10))


async def test_an_array_becomes_jobs_and_their_results_come_in_the_order_of_the_inputs(
    caller: httpx.AsyncClient, worker: PlayedWorker
) -> None:
    batch = await send(caller, values(3))
    assert (batch["status"], batch["counts"]["total"], batch["counts"]["pending"], batch["progress"]) == ("running", 3, 3, 0)
    await end(worker, batch, [2, 0])
    await worker.fail(item_id(batch["id"], 1))
    done = (await caller.get(f"{API}/batches/{batch['id']}")).json()
    assert (done["status"], done["terminal"], done["progress"]) == ("completed", True, 1)
    assert done["counts"] == {"total": 3, "pending": 0, "succeeded": 2, "failed": 1, "canceled": 0, "expired": 0}
    found = await rows(caller, batch, "")
    assert [(row["index"], row["status"], row.get("output")) for row in found] == [
        (0, "succeeded", 0),
        (1, "failed", None),
        (2, "succeeded", 20),
    ]
    assert found[1]["error"]["code"] == "model-error"


async def test_ten_thousand_inputs_are_accepted_in_one_call_and_all_become_jobs(
    caller: httpx.AsyncClient, store: Store, settings: Settings
) -> None:
    batch = await send(caller, values(10_000))
    assert batch["counts"]["total"] == 10_000
    await chores(store, settings, batch)
    waiting = await store.connection.command("ZRANGE", f"{store.prefix}wait:{LANE}", 0, -1)
    assert len(waiting) == 10_000
    assert [await tickets(store) for _ in range(3)] == [[item_id(batch["id"], i) for i in range(at, at + 100)] for at in (0, 100, 200)]
    job = (await caller.get(f"{API}/jobs/{item_id(batch['id'], 9_999)}")).json()
    assert (job["batch"], job["batch_index"], job["position"] > 9_900) == (batch["id"], 9_999, True)


async def test_json_lines_are_read_with_a_mark_blank_lines_and_either_end(caller: httpx.AsyncClient) -> None:
    body = b"\xef\xbb\xbf" + b'{"value": 1}\r\n\n{"value": "\\u2028"}\n   \n{"value": 3}'
    answer = await post_lines(caller, body, '?options={"priority":7,"tags":["a"]}')
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert (batch["counts"]["total"], batch["priority"], batch["tags"]) == (3, 7, ["a"])
    job = (await caller.get(f"{API}/jobs/{item_id(batch['id'], 2)}")).json()
    assert (job["priority"], job["tags"]) == (7, ["a"])


async def test_a_stored_file_of_lines_is_a_batch(caller: httpx.AsyncClient) -> None:
    stored = await caller.post(f"{API}/files?name=in.jsonl", content=lines(*['{"value": 1}'] * 5), headers={"Content-Type": "text/plain"})
    batch = await send(caller, {"file": stored.json()["id"], "metadata": {"run": 7}})
    assert (batch["counts"]["total"], batch["metadata"]) == (5, {"run": 7})


@pytest.mark.parametrize(
    ("line", "pointer", "detail"),
    [
        ("{", "/inputs/1", "line 2: It is not JSON"),
        ('{"value": 1, "value": 2}', "/inputs/1/value", "line 2: the key appears more than once"),
        ('{"value": NaN}', "/inputs/1/value", "line 2: NaN is not a JSON value"),
        ('{"value": ' + "[" * 70 + "]" * 70 + "}", "/inputs/1", "line 2: nested more than 64 levels deep"),
        ('{"other": 1}', "/inputs/1/other", "line 2: There is no such field"),
        ("[]", "/inputs/1", "line 2: The input is a JSON object; got a list"),
        (b'{"value": "\xff"}', "/inputs/1", "line 2: It is not JSON: Not UTF-8"),
    ],
)
async def test_a_wrong_line_is_named_and_nothing_is_accepted(  # noqa: PLR0917
    caller: httpx.AsyncClient, store: Store, kept: Any, line: str | bytes, pointer: str, detail: str
) -> None:
    answer = await post_lines(caller, lines('{"value": 1}', line, '{"value": 2}'))
    assert answer.status_code == 422, answer.text
    found = [(each["pointer"], each["detail"].startswith(detail)) for each in answer.json()["errors"]]
    assert (pointer, True) in found
    assert (await caller.get(f"{API}/batches")).json()["batches"] == []
    assert await kept() == set()
    assert not await store.connection.command("KEYS", f"{store.prefix}job:*")


async def test_the_first_fifty_findings_are_told_and_the_rest_is_not_read(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(f"{API}/models/echo/batches", json=[{"no": i} for i in range(500)])
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert (len(errors), errors[0]["pointer"][:9], errors[-1]["pointer"][:10]) == (50, "/inputs/0", "/inputs/24")


@pytest.mark.parametrize(
    "body", [[], {"inputs": []}, {}, {"inputs": [1], "file": "file_x"}, {"inputs": "x"}, "x", {"inputs": [{"value": 1}], "no": 1}]
)
async def test_a_body_without_inputs_or_with_unknown_members_is_refused(caller: httpx.AsyncClient, body: Any) -> None:
    assert (await caller.post(f"{API}/models/echo/batches", json=body)).status_code == 422


async def test_a_line_that_is_longer_than_a_body_may_be_is_refused(settings: Settings) -> None:
    async with calling(app_of(settings.model_copy(update={"max_body": 2048}))) as caller:
        answer = await post_lines(caller, lines('{"value": 1}', '{"value": "' + "x" * 4000 + '"}'))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["detail"].startswith("line 2: longer than 2,048 bytes")


async def test_the_same_key_gives_the_same_batch_also_when_two_come_at_once_and_in_another_form(
    caller: httpx.AsyncClient, store: Store, kept: Any
) -> None:
    answers = await asyncio.gather(
        *[caller.post(f"{API}/models/echo/batches", json=values(250), headers={"Idempotency-Key": "k"}) for _ in range(4)],
        post_lines(caller, lines(*[orjson.dumps(each) for each in values(250)]), **{"Idempotency-Key": "k"}),
    )
    assert len({answer.json()["id"] for answer in answers}) == 1, [answer.text for answer in answers]
    assert sum(answer.headers.get("idempotency-replayed") == "true" for answer in answers) == 4
    assert len(await store.connection.command("KEYS", f"{store.prefix}job:*")) == 250
    assert await kept() == set(), "the inputs are not needed any longer, once all are jobs"
    other = await caller.post(f"{API}/models/echo/batches", json=values(3), headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


async def test_what_does_not_fit_into_the_lane_is_fed_when_there_is_room(settings: Settings, store: Store, worker: PlayedWorker) -> None:
    small = settings.model_copy(update={"max_queued": 150})
    mine = Store(settings.redis_url, small, "@ID@")
    async with calling(app_of(small)) as caller:
        batch = await send(caller, values(400))
        assert (batch["status"], batch["counts"]["pending"]) == ("accepting", 400)
        found = await rows(caller, batch)
        assert [row["status"] for row in found] == ["queued"] * 150 + ["pending"] * 250
        await end(worker, batch, range(100))
        await chores(mine, small, batch)
        await end(worker, batch, range(100, 250))
        await chores(mine, small, batch)
        assert (await caller.get(f"{API}/batches/{batch['id']}")).json()["status"] == "running"
        await end(worker, batch, range(250, 400))
        done = (await caller.get(f"{API}/batches/{batch['id']}")).json()
        assert (done["status"], done["counts"]["succeeded"]) == ("completed", 400)
        assert [row["output"] for row in await rows(caller, batch, "")] == [i * 10 for i in range(400)]
    await mine.close()


async def test_two_feeders_at_once_make_each_item_once(
    settings: Settings, store: Store, caller: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longrun.service.batches.AT_ONCE", -1.0)  # the request makes the first hundred and leaves the rest
    batch = await send(caller, values(3_000))
    assert batch["status"] == "accepting"
    others = [Store(settings.redis_url, settings, "@ID@") for _ in range(3)]
    blobs = open_blobs(settings)
    await asyncio.gather(*[feed(other, blobs, batch["id"], 30) for other in others])
    assert not (await store.batches.feeding(batch["id"])).open
    assert await store.connection.command("ZCARD", f"{store.prefix}wait:{LANE}") == 3_000
    assert await store.connection.command("LLEN", f"{store.prefix}{LANE}:4") == 3_000
    for other in others:
        await other.close()
    blobs.close()


async def test_a_canceled_batch_makes_no_further_jobs_and_stops_those_it_has(
    settings: Settings, store: Store, caller: httpx.AsyncClient, worker: PlayedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longrun.service.batches.AT_ONCE", -1.0)
    batch = await send(caller, values(1_000))
    await end(worker, batch, [0])
    running = await worker.claim(item_id(batch["id"], 1))
    answer = await caller.post(f"{API}/batches/{batch['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "canceling")
    await chores(store, settings, batch)
    assert await store.claims.finish(running.id, running.fence, "canceled", b'{"code":"canceled","detail":"x","attempt":1}') == "canceled"
    again = await caller.post(f"{API}/batches/{batch['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "canceled")
    assert again.json()["counts"] == {"total": 1_000, "pending": 0, "succeeded": 1, "failed": 0, "canceled": 999, "expired": 0}
    found = await rows(caller, batch, "")
    assert [row["status"] for row in found] == ["succeeded"] + ["canceled"] * 999
    assert {row["error"]["code"] for row in found[1:]} == {"canceled"}
    assert len(await store.connection.command("KEYS", f"{store.prefix}job:*")) == 100


async def test_an_end_that_is_told_twice_counts_once(caller: httpx.AsyncClient, worker: PlayedWorker, store: Store) -> None:
    batch = await send(caller, values(2))
    claim = await worker.claim(item_id(batch["id"], 0))
    for _ in range(2):
        assert await store.claims.finish(claim.id, claim.fence, "succeeded", b"1") == "succeeded"
    await caller.post(f"{API}/jobs/{claim.id}/cancel")
    counts = (await caller.get(f"{API}/batches/{batch['id']}")).json()["counts"]
    assert (counts["succeeded"], counts["pending"], counts["canceled"]) == (1, 1, 0)


async def test_a_retried_item_is_a_job_outside_of_the_batch(caller: httpx.AsyncClient, worker: PlayedWorker) -> None:
    batch = await send(caller, values(1))
    await worker.fail(item_id(batch["id"], 0))
    job = (await caller.post(f"{API}/jobs/{item_id(batch['id'], 0)}/retry")).json()
    assert job["batch"] is None
    await worker.succeed(job["id"])
    assert (await caller.get(f"{API}/batches/{batch['id']}")).json()["counts"]["failed"] == 1


async def test_who_waits_for_the_end_is_answered_when_the_last_item_ends(caller: httpx.AsyncClient, worker: PlayedWorker) -> None:
    batch = await send(caller, values(2))
    waiting = asyncio.ensure_future(caller.get(f"{API}/batches/{batch['id']}", headers={"Prefer": "wait=30"}))
    await asyncio.sleep(0.1)
    await end(worker, batch, [0, 1])
    assert (await waiting).json()["status"] == "completed"
    etag = (await caller.get(f"{API}/batches/{batch['id']}")).headers["etag"]
    assert (await caller.get(f"{API}/batches/{batch['id']}", headers={"If-None-Match": etag})).status_code == 304


async def test_who_waits_for_a_change_is_answered_when_an_item_ends(caller: httpx.AsyncClient, worker: PlayedWorker) -> None:
    batch = await send(caller, values(2))
    etag = f'"{batch["version"]}"'
    headers = {"Prefer": "wait=30", "If-None-Match": etag}
    waiting = asyncio.ensure_future(caller.get(f"{API}/batches/{batch['id']}", headers=headers))
    await asyncio.sleep(0.1)
    await end(worker, batch, [1])
    assert (await waiting).json()["counts"]["pending"] == 1


async def test_results_before_the_end_are_the_batch_unless_asked_for_in_part(caller: httpx.AsyncClient, worker: PlayedWorker) -> None:
    batch = await send(caller, values(250))
    await end(worker, batch, [120])
    early = await caller.get(f"{API}/batches/{batch['id']}/results")
    assert (early.status_code, early.json()["id"], early.headers["retry-after"]) == (202, batch["id"], "1")
    found = await rows(caller, batch, "?partial=true&after=118&limit=3")
    assert [(row["index"], row["status"]) for row in found] == [(119, "queued"), (120, "succeeded"), (121, "queued")]


async def test_large_inputs_and_outputs_go_through_files(
    caller: httpx.AsyncClient, worker: PlayedWorker, store: Store, settings: Settings
) -> None:
    batch = await send(caller, [{"value": "x" * 100_000}, {"value": 2}])
    claim = await worker.claim(item_id(batch["id"], 0))
    ref = referenced(claim.input)
    assert ref is not None, "the store holds a reference in the place of a large input"
    blobs = open_blobs(settings)
    assert orjson.loads(await blobs.read(ref.key, 1_000_000)) == {"value": "x" * 100_000}
    large = orjson.dumps("y" * 100_000)
    output = await store_input(store, blobs, "local", large, new_file_id())
    assert await store.claims.finish(claim.id, claim.fence, "succeeded", reference(output)) == "succeeded"
    await end(worker, batch, [1])
    assert [row["output"] for row in await rows(caller, batch, "")] == ["y" * 100_000, 10]
    blobs.close()


async def test_files_are_named_by_their_ids_and_kept_until_the_items_have_them(
    caller: httpx.AsyncClient, worker: PlayedWorker, store: Store, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = (
        await caller.post(f"{API}/files", content=media_files.saved(media_files.picture(), "PNG"), headers={"Content-Type": "image/png"})
    ).json()
    monkeypatch.setattr("longrun.service.batches.AT_ONCE", -1.0)
    batch = await send(caller, [{"cover": stored["id"]}] * 150, model="collage")
    assert (await caller.delete(f"{API}/files/{stored['id']}")).status_code == 204
    monkeypatch.undo()
    refused = await caller.post(f"{API}/models/collage/batches", json=[{"cover": stored["id"]}])
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/inputs/0/cover")
    refused = await caller.post(f"{API}/models/collage/batches", json=[{"cover": "data:image/png;base64,AAAA"}])
    assert "upload it first" in refused.json()["errors"][0]["detail"]
    assert stored["id"] in await kept()
    assert batch["status"] == "accepting"


async def test_a_foreign_batch_is_answered_like_an_unknown_one(keyed: Settings) -> None:
    async with calling(app_of(keyed)) as caller:
        ann, bob = ({"Authorization": f"Bearer {name}-key"} for name in ("ann", "bob"))
        batch = (await caller.post(f"{API}/models/echo/batches", json=values(2), headers=ann)).json()
        for verb, tail in (("GET", ""), ("GET", "/results"), ("POST", "/cancel")):
            foreign = await caller.request(verb, f"{API}/batches/{batch['id']}{tail}", headers=bob)
            unknown = await caller.request(verb, f"{API}/batches/{new_batch_id()}{tail}", headers=bob)
            assert (foreign.status_code, foreign.json()["code"]) == (404, "batch-not-found")
            assert foreign.json().keys() == unknown.json().keys()
        assert (await caller.get(f"{API}/batches", headers=bob)).json()["batches"] == []
        assert [each["id"] for each in (await caller.get(f"{API}/batches", headers=ann)).json()["batches"]] == [batch["id"]]


async def test_a_batch_goes_with_its_items_and_not_before(settings: Settings, store: Store, worker: PlayedWorker) -> None:
    async with calling(app_of(settings)) as caller:
        batch = await send(caller, {"inputs": values(2), "policy": {"retain_for": 100}})
        await end(worker, batch, [0])
        await store.connection.command("ZADD", f"{store.prefix}expire", 1, item_id(batch["id"], 0))
        await store.upkeep.expire()
        assert (await caller.get(f"{API}/jobs/{item_id(batch['id'], 0)}")).status_code == 200, "its batch goes on"
        await end(worker, batch, [1])
        assert (await caller.get(f"{API}/batches/{batch['id']}")).json()["expires_at"] is not None
        for name in ("expires", "finished"):
            await store.connection.command("HSET", f"{store.prefix}batch:{batch['id']}", name, 1)
        await chores(store, settings, batch)
        gone = await caller.get(f"{API}/batches/{batch['id']}")
        assert (gone.status_code, gone.json()["code"]) == (410, "batch-gone")
        for index in (0, 1):
            await store.connection.command("ZADD", f"{store.prefix}expire", 1, item_id(batch["id"], index))
        await store.upkeep.expire()
        assert (await caller.get(f"{API}/jobs/{item_id(batch['id'], 1)}")).status_code == 410


async def test_pages_of_batches_lead_on(caller: httpx.AsyncClient) -> None:
    ids = [(await send(caller, values(1)))["id"] for _ in range(3)]
    first = (await caller.get(f"{API}/batches?limit=2")).json()
    second = (await caller.get(first["next"])).json()
    assert [each["id"] for each in first["batches"] + second["batches"]] == ids[::-1]
