"""Dead letters over HTTP: narrowing, redriving in pieces, and what a redriven job keeps."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import API, PlayedWorker

from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.settings import Settings
from longrun.store.records import NewJob
from longrun.store.store import Store

Submit = Callable[..., Any]
REDRIVE = f"{API}/dead-letters/redrive"


async def dead(store: Store, n: int, *, tenant: str = "default", code: str = "model-error", tags: bytes | None = None) -> list[str]:
    """Make dead letters without asking the API."""
    worker, ids = PlayedWorker(store), [new_job_id() for _ in range(n)]
    for start in range(0, n, 50):
        piece = ids[start : start + 50]
        await asyncio.gather(
            *(
                store.records.submit(NewJob(each, tenant, "echo", "default", 5, b'{"value":1}', Policy().to_json(), tags=tags))
                for each in piece
            )
        )
        await asyncio.gather(*(worker.fail(each, code) for each in piece))
    return ids


@pytest.mark.parametrize("where", ["dead-letters", "jobs"])
async def test_jobs_are_narrowed_by_the_code_of_their_error(caller: httpx.AsyncClient, store: Store, where: str) -> None:
    lost = await dead(store, 5, code="worker-lost", tags=b'["night"]')
    others = await dead(store, 130)
    found: list[str] = []
    url: str | None = f"{API}/{where}?code=worker-lost&limit=2"
    while url is not None:
        page = (await caller.get(url)).json()
        found += [job["id"] for job in page["jobs"]]
        url = page["next"]
    assert sorted(found) == sorted(lost)
    listed = (await caller.get(f"{API}/{where}?code=worker-lost&tag=night&model=echo&status=failed&limit=100")).json()["jobs"]
    assert {job["id"] for job in listed} == set(lost)
    assert (await caller.get(f"{API}/{where}?code=worker-lost&tag=day")).json()["jobs"] == []
    assert len((await caller.get(f"{API}/{where}?code=model-error&limit=100")).json()["jobs"]) == 100 < len(others)


async def test_created_after_counts_from_the_submit_although_dead_letters_are_sorted_by_their_end(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    old, new = await submit(), None
    await asyncio.sleep(0.02)
    new = await submit()
    for job in (new, old):
        await worker.fail(job["id"])
    listed = (await caller.get(f"{API}/dead-letters", params={"created_after": old["created_at"]})).json()["jobs"]
    assert [job["id"] for job in listed] == [new["id"]]


async def test_a_redriven_job_keeps_what_its_caller_gave_and_says_where_it_comes_from(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    given = {"priority": 8, "tags": ["a", "b"], "metadata": {"user": 7}, "policy": {"timeout": 33, "delivery": "at_most_once"}}
    old = await submit({"value": [1]}, **given)
    await worker.fail(old["id"], "outcome-unknown")
    (pair,) = (await caller.post(REDRIVE, json={"ids": [old["id"]]})).json()["redriven"]
    new = (await caller.get(f"{API}/jobs/{pair['job_id']}")).json()
    kept = ("model", "queue", "priority", "tags", "metadata", "policy")
    assert {name: new[name] for name in kept} == {name: old[name] for name in kept}
    assert (new["retry_of"], new["attempt"], new["status"]) == (old["id"], 0, "queued")
    assert (await worker.claim(new["id"])).input == b'{"value":[1]}'
    assert (await caller.get(f"{API}/jobs/{old['id']}")).json()["retried_by"] == new["id"]


async def test_a_redriven_job_that_fails_again_is_a_new_dead_letter(
    caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    old = await submit()
    await worker.fail(old["id"], "worker-lost")
    (pair,) = (await caller.post(REDRIVE, json={"all": True})).json()["redriven"]
    assert (await caller.get(f"{API}/dead-letters")).json()["jobs"] == []
    await worker.fail(pair["job_id"], "worker-lost", signal="SIGSEGV", peak_memory=1 << 30)
    (again,) = (await caller.get(f"{API}/dead-letters")).json()["jobs"]
    assert (again["id"], again["retry_of"], again["error"]["signal"]) == (pair["job_id"], old["id"], "SIGSEGV")


async def test_going_on_by_the_cursor_handles_each_dead_letter_once_although_they_fail_again_meanwhile(
    caller: httpx.AsyncClient, store: Store, worker: PlayedWorker
) -> None:
    ids = await dead(store, 1130, tags=b'["t"]')
    handled: list[str] = []
    body: dict[str, Any] = {"tag": "t"}
    while True:
        done = (await caller.post(REDRIVE, json=body)).json()
        handled += [each["id"] for each in done["redriven"]]
        for each in done["redriven"][:20]:
            await worker.fail(each["job_id"])
        if done["next"] is None:
            break
        body["cursor"] = done["next"]
    assert sorted(handled) == sorted(ids)
    assert (done["skipped"], done["left"]) == ([], 20)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"all": True, "cursor": "x"}, "/cursor"),
        ({"ids": ["x"], "cursor": "x"}, ""),
        ({"tag": ""}, "/tag"),
        ({"tag": "a", "all": True}, ""),
    ],
)
async def test_a_wrong_redrive_is_refused_with_the_place(caller: httpx.AsyncClient, body: dict[str, Any], pointer: str) -> None:
    answer = await caller.post(REDRIVE, json=body)
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


class Api:
    """A real API process, to be killed."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        (folder / "app.py").write_text("from longrun import model\n\n\n@model\ndef echo(value: int) -> int:\n    return value\n")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        env = os.environ | {"LONGRUN_REDIS_URL": settings.redis_url, "LONGRUN_PREFIX": settings.prefix}
        command = [sys.executable, "-m", "longrun", "api", "app.py", "--port", str(port)]
        self.process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.DEVNULL)

    def wait(self) -> None:
        end = time.monotonic() + 90
        while True:
            try:
                if httpx.get(f"{self.url}/livez").status_code == 200:
                    return
            except httpx.TransportError:
                assert time.monotonic() < end, "the API has not started"
                time.sleep(0.05)


@pytest.fixture
def start_api(settings: Settings, tmp_path: Path) -> Iterator[Callable[[], Api]]:
    """Start API processes; all of them are gone after the test."""
    started: list[Api] = []

    def start() -> Api:
        started.append(Api(settings, tmp_path))
        started[-1].wait()
        return started[-1]

    yield start
    for api in started:
        api.process.kill()
        api.process.wait()


async def test_a_redrive_that_is_cut_off_by_a_kill_makes_no_job_twice(store: Store, start_api: Callable[[], Api]) -> None:
    ids = await dead(store, 900)
    first = await asyncio.to_thread(start_api)

    async def cut_off() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            await client.post(f"{first.url}{REDRIVE}", json={"all": True})

    request = asyncio.create_task(cut_off())
    while await store.records.dead("default") == 900:
        assert not request.done()
        await asyncio.sleep(0)
    first.process.kill()
    with pytest.raises(httpx.TransportError):
        await request
    assert 0 < await store.records.dead("default") < 900

    second = await asyncio.to_thread(start_api)
    async with httpx.AsyncClient(timeout=60) as client:
        for _ in range(2):  # by id, also those that the first one had redriven: each gets the job that it has
            done = (await client.post(f"{second.url}{REDRIVE}", json={"ids": ids})).json()
            assert (len(done["redriven"]), done["skipped"], done["left"]) == (900, [], 0)
    made = Counter[str | None]()
    cursor: tuple[str, str] | None = None
    while True:
        page = await store.records.list("default", cursor=cursor, look_at=100, since=0, filters=[("status", "queued")])
        made.update(job.retry_of for job in page.jobs)
        cursor = page.cursor
        if cursor is None:
            break
    assert made == Counter(ids)
