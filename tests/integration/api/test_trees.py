"""GET /jobs/{id}/tree, what steps leave in the log of a job, and what cannot be done with a step alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from tests.integration.api.conftest import API, PlayedWorker, app_of, calling
from tests.integration.api.stored import ANN, BOB, add
from tests.integration.api.test_events import read, remote, types
from tests.integration.api.test_websocket import read as read_socket
from tests.integration.api.test_websocket import url
from tests.integration.api.trees import ask, child, local, running
from websockets.asyncio.client import connect

from longrun.clock import new_job_id
from longrun.jobs.file_refs import as_output
from longrun.settings import Settings
from longrun.store.store import Store

__all__ = ["remote", "url"]
Submit = Callable[..., Any]


@pytest.fixture
async def parent(submit: Submit) -> str:
    """Id of a job that has been accepted."""
    job_id: str = (await submit())["id"]
    return job_id


def tree(job_id: str) -> str:
    return f"{API}/jobs/{job_id}/tree"


async def test_a_tree_shows_the_job_and_its_steps(caller: httpx.AsyncClient, store: Store, worker: PlayedWorker, parent: str) -> None:
    first = await child(store, parent, "n:a")
    below = await child(store, first, "n:c")
    await worker.succeed(below)
    fence = await running(store, first)
    assert await store.claims.finish(first, fence, "succeeded", b"1", b'{"cost_usd":0.25}') == "succeeded"
    failed = await child(store, parent, "n:b")
    await worker.fail(failed)
    await local(store, parent, "l:list")
    await ask(store, parent, "approve")
    body = (await caller.get(tree(parent))).json()
    assert (body["id"], body["status"], body["steps_usage"], body["next"]) == (parent, "waiting", {"cost_usd": 0.25, "run_s": 0.5}, None)
    steps = sorted(body["steps"], key=lambda each: each["key"][2:])
    assert [(each["kind"], each["key"], each["status"], each["id"], each["children"]) for each in steps] == [
        ("child", "n:a", "succeeded", first, 1), ("wait", "s:approve", "waiting", None, 0), ("child", "n:b", "failed", failed, 0),
        ("step", "l:list", "succeeded", None, 0),
    ]  # fmt: skip
    done, _, broken, _ = steps
    assert (done["usage"], done["steps_usage"], broken["error"]["code"]) == ({"cost_usd": 0.25}, {"run_s": 0.5}, "model-error")
    assert broken["error"]["instance"] == f"{API}/jobs/{failed}"
    (inner,) = (await caller.get(done["urls"]["tree"])).json()["steps"]
    assert (inner["id"], inner["status"], inner["urls"]["self"]) == (below, "succeeded", f"{API}/jobs/{below}")


async def test_a_job_without_steps_has_an_empty_tree(caller: httpx.AsyncClient, parent: str) -> None:
    body = (await caller.get(tree(parent))).json()
    assert (body["steps"], body["next"], body["steps_usage"]) == ([], None, {})


async def test_pages_follow_each_other_while_the_job_makes_more(caller: httpx.AsyncClient, store: Store, parent: str) -> None:
    await local(store, parent, *(f"l:{n:03}" for n in range(230)))
    where, seen, sizes = tree(parent), list[str](), list[int]()
    while where:
        answer = await caller.get(where)
        body = answer.json()
        seen += [each["key"] for each in body["steps"]]
        sizes.append(len(body["steps"]))
        assert answer.headers.get("link") == (f'<{body["next"]}>; rel="next"' if body["next"] else None)
        where = body["next"]
        await local(store, parent, f"m:{len(sizes)}")
    assert seen[:230] == [f"l:{n:03}" for n in range(230)] and sizes[:2] == [100, 100]
    assert len((await caller.get(tree(parent) + "?limit=7")).json()["steps"]) == 7


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=x", "cursor=!!!", "cursor=bDp4", "limit=%00", "cursor=%ff"])
async def test_a_wrong_page_is_refused_with_what_is_wrong(caller: httpx.AsyncClient, store: Store, parent: str, query: str) -> None:
    await local(store, parent, "l:a")
    answer = await caller.get(f"{tree(parent)}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation-failed")
    assert [each["pointer"] for each in answer.json()["errors"]] == [f"/query/{query.partition('=')[0]}"]


async def test_a_tree_is_its_tenants(keyed: Settings, store: Store) -> None:
    async with calling(app_of(keyed)) as caller:
        job_id = (await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}}, headers=ANN)).json()["id"]
        step = await child(store, job_id, "n:a")
        for each in (job_id, step):
            assert (await caller.get(tree(each), headers=ANN)).status_code == 200
            answers = [await caller.get(tree(unknown), headers=BOB) for unknown in (each, new_job_id(), "job_x")]
            assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "job-not-found")}
        assert (await caller.get(tree(job_id))).status_code == 401
        assert (await caller.post(tree(job_id), headers=ANN)).headers["allow"] == "GET, HEAD"


async def test_a_child_names_its_parent_and_root_and_is_in_no_list(caller: httpx.AsyncClient, store: Store, parent: str) -> None:
    middle = await child(store, parent, "n:a")
    leaf = (await caller.get(f"{API}/jobs/{await child(store, middle, 'n:b')}")).json()
    assert (leaf["parent"], leaf["root"], leaf["urls"]["tree"]) == (middle, parent, f"{API}/jobs/{leaf['id']}/tree")
    root = (await caller.get(f"{API}/jobs/{parent}")).json()
    assert (root["parent"], root["root"], root["asks"]) == (None, None, [])
    assert [job["id"] for job in (await caller.get(f"{API}/jobs")).json()["jobs"]] == [parent]


async def test_a_child_is_retried_and_deleted_with_its_root_but_canceled_alone(
    caller: httpx.AsyncClient, store: Store, worker: PlayedWorker, parent: str
) -> None:
    broken, open_one = await child(store, parent, "n:a"), await child(store, parent, "n:b")
    await worker.fail(broken)
    for answer in (await caller.post(f"{API}/jobs/{broken}/retry"), await caller.delete(f"{API}/jobs/{broken}")):
        assert (answer.status_code, answer.json()["code"], answer.json()["root"]) == (409, "not-a-root", parent)
    assert (await caller.post(f"{API}/jobs/{open_one}/cancel")).json()["status"] == "canceled"


async def test_all_of_a_tree_is_gone_with_its_root(caller: httpx.AsyncClient, store: Store, worker: PlayedWorker, parent: str) -> None:
    step = await child(store, parent, "n:a")
    await worker.succeed(step)
    assert await store.claims.finish(parent, await running(store, parent), "succeeded", b"1") == "succeeded"
    assert (await caller.delete(f"{API}/jobs/{parent}")).status_code == 204
    for path in (f"{API}/jobs/{step}", tree(step), tree(parent), f"{API}/jobs/{step}/result", f"{API}/jobs/{step}/signals/x"):
        assert ((await caller.get(path)).status_code, path) == (410, path)


async def test_the_error_of_a_job_names_the_step_that_failed(caller: httpx.AsyncClient, worker: PlayedWorker, parent: str) -> None:
    step = new_job_id()
    await worker.fail(parent, "step-failed", step="n:a", job_id=step, step_code="timeout")
    error = (await caller.get(f"{API}/jobs/{parent}")).json()["error"]
    assert (error["code"], error["step"], error["job_id"], error["step_code"]) == ("step-failed", "n:a", step, "timeout")
    (attempt,) = (await caller.get(f"{API}/jobs/{parent}/attempts")).json()["attempts"]
    assert attempt["error"] == error
    answer = (await caller.get(f"{API}/jobs/{parent}/result")).json()
    assert (answer["job_id"], answer["step"], answer["status"]) == (parent, "n:a", 424)


# -- events ------------------------------------------------------------------------------------------------------------------


EVENTS: list[tuple[str, Any]] = [
    ("output", {"value": "own "}), ("step", {"key": "n:a", "id": "job_1", "model": "m", "status": "queued"}),
    ("step_output", {"step": "n:a", "value": "tok"}), ("waiting", {"for": ["approve"], "until": 1_700_000_000_999}),
    ("waiting", {"for": ["steps"], "until": None}), ("output", {"value": "more"}),
]  # fmt: skip


async def logged(worker: PlayedWorker, job_id: str) -> None:
    claim = await worker.claim(job_id)
    await worker.append(claim, 0, *EVENTS)


def data_of(events: list[dict[str, Any]], kind: str) -> list[Any]:
    return [event["data"] for event in events if event["type"] == kind]


def check(events: list[dict[str, Any]]) -> None:
    assert types(events) == ["queued", "started", *(kind for kind, _ in EVENTS)]
    assert data_of(events, "waiting") == [{"for": ["approve"], "until": "2023-11-14T22:13:20.999Z"}, {"for": ["steps"], "until": None}]
    assert data_of(events, "step_output") == [{"step": "n:a", "value": "tok"}]


async def test_pages_show_what_steps_leave(caller: httpx.AsyncClient, worker: PlayedWorker, parent: str) -> None:
    await logged(worker, parent)
    page = (await caller.get(f"{API}/jobs/{parent}/events", headers={"Accept": "application/json"})).json()
    check(page["events"])
    asked = {"types": "step_output,waiting"}
    chosen = (await caller.get(f"{API}/jobs/{parent}/events", params=asked, headers={"Accept": "application/json"})).json()
    assert types(chosen["events"]) == ["step_output", "waiting", "waiting"]


async def test_a_stream_shows_the_same(remote: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job_id = (await submit())["id"]
    await logged(worker, job_id)
    async with remote.stream("GET", f"{API}/jobs/{job_id}/events") as stream:
        check(await read(stream, 8))


async def test_a_socket_shows_the_same_as_it_comes(url: str, submit: Submit, worker: PlayedWorker) -> None:
    job_id = (await submit())["id"]
    claim = await worker.claim(job_id)
    async with connect(f"{url}{API}/jobs/{job_id}/ws") as socket:
        begun = await read_socket(socket, 2)
        # From here on the reader is in step, and gets what is announced without a look into the log.
        await worker.append(claim, 0, *EVENTS)
        check(begun + await read_socket(socket, 6))


async def test_a_job_that_was_let_go_goes_on_after_an_answer(caller: httpx.AsyncClient, store: Store, parent: str) -> None:
    await ask(store, parent, "approve", "other")
    assert await store.steps.let_go([(parent, await running(store, parent), 5, b'{"run_s":0.5}')]) == ["asleep"]
    seen = await caller.get(f"{API}/jobs/{parent}")
    assert seen.json()["status"] == "waiting"
    assert [job["id"] for job in (await caller.get(f"{API}/jobs?status=waiting")).json()["jobs"]] == [parent]
    waiting = asyncio.ensure_future(
        caller.get(f"{API}/jobs/{parent}", headers={"If-None-Match": seen.headers["etag"], "Prefer": "wait=30"})
    )
    await asyncio.sleep(0)
    assert (await caller.post(f"{API}/jobs/{parent}/signals/approve", json={"ok": True})).status_code == 200
    assert [each["name"] for each in (await waiting).json()["asks"]] == ["other"]
    claim = await store.claims.claim(parent, "n2", "w2", "cpu")
    assert claim is not None
    page = (await caller.get(f"{API}/jobs/{parent}/events", headers={"Accept": "application/json"})).json()
    assert types(page["events"]) == ["queued", "started", "waiting", "started"]
    (wait,) = data_of(page["events"], "waiting")
    assert sorted(wait["for"]) == ["approve", "other"] and wait["until"].endswith("Z")
    assert [started["resumed"] for started in data_of(page["events"], "started")] == [False, True]
    attempts = (await caller.get(f"{API}/jobs/{parent}/attempts")).json()["attempts"]
    assert [(each["attempt"], each["outcome"]) for each in attempts] == [(1, "waited"), (2, None)]


async def test_what_steps_yield_is_in_no_output_of_the_job(caller: httpx.AsyncClient, worker: PlayedWorker, parent: str) -> None:
    await logged(worker, parent)
    assert (await caller.get(f"{API}/jobs/{parent}/output")).json()["output"] == "own more"


async def test_files_that_steps_yield_have_urls(caller: httpx.AsyncClient, store: Store, worker: PlayedWorker, parent: str) -> None:
    file = (await store.files.read((await add(caller))["id"], "default")).ref
    claim = await worker.claim(parent)
    assert await store.claims.append(
        parent, claim.fence, 0, b"", [("step_output", orjson.dumps({"step": "n:a", "value": as_output(file)}))]
    )
    page = (await caller.get(f"{API}/jobs/{parent}/events?types=step_output", headers={"Accept": "application/json"})).json()
    assert (await caller.get(page["events"][0]["data"]["value"]["url"])).status_code == 200
    assert "longrun-file" not in json.dumps(page)
