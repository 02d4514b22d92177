"""What a job says while it runs, as callers read it over HTTP from a real worker: progress, and the output so far however it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.api.conftest import API, calling
from tests.integration.worker.conftest import Worker

from longrun.api.app import build_app
from longrun.models import isolated_registry
from longrun.queues.celery.tickets import ticket_template
from longrun.service.parts import Parts
from longrun.settings import Settings
from longrun.store.store import Store

with isolated_registry() as TELLING:
    from tests.integration.worker import models_that_report

WORDS = ["once ", "upon ", "a ", "time"]
SO_FAR = "".join(WORDS)
Http = httpx.AsyncClient


def work(settings: Settings, log: Path) -> Worker:
    return Worker(settings, log, app=Path(models_that_report.__file__), LONGRUN_MAX_CRASHES="1")


def app_of(settings: Settings) -> FastAPI:
    return build_app(settings, TELLING, lambda: Parts(settings, Store(settings.redis_url, settings, ticket_template()), TELLING))


@pytest.fixture(scope="module")
def telling(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A worker for the tests that do it no harm; one crash is enough for a job to fail."""
    settings = module_settings.model_copy(update={"max_crashes": 1})
    worker = work(settings, tmp_path_factory.mktemp("telling") / "worker.log")
    yield settings
    worker.stop()


@pytest.fixture
async def http(telling: Settings) -> AsyncIterator[Http]:
    """A caller of the API over the same store."""
    async with calling(app_of(telling)) as http:
        yield http


async def dripping(http: Http, go_on: Path, end: str = "", **members: Any) -> str:
    """URL of a job that has yielded its words and waits."""
    body = {"input": {"words": WORDS, "go_on": str(go_on), "end": end}, **members}
    answer = await http.post(f"{API}/models/drip/jobs", json=body)
    assert answer.status_code == 202, answer.text
    url: str = answer.json()["urls"]["self"]
    await until(http, f"{url}/output", lambda output: output["output"] == SO_FAR)
    return url


async def until(http: Http, url: str, so: Callable[[Any], bool]) -> Any:
    """The first body that is `so`."""
    deadline = time.monotonic() + 60
    while not so(body := (await http.get(url)).json()):
        assert time.monotonic() < deadline, body
        await asyncio.sleep(0.02)
    return body


async def test_progress_is_in_the_job_while_it_runs_and_after(http: Http, tmp_path: Path) -> None:
    url = await dripping(http, tmp_path / "go")
    job = await until(http, url, lambda job: job["progress"] and job["progress"]["message"] == "time")
    assert (job["status"], job["progress"]["fraction"], job["progress"]["step"]) == ("running", 0.75, "attempt 1")
    (tmp_path / "go").touch()
    job = await until(http, url, lambda job: job["terminal"])
    assert (job["status"], job["output"]) == ("succeeded", SO_FAR + ".")
    assert (job["progress"]["fraction"], job["progress"]["step"], job["progress"]["message"]) == (1, "the end", None)
    assert job["progress"]["updated_at"] <= job["finished_at"]


async def test_progress_moves_the_version_and_wakes_who_waits_for_any_change(http: Http, tmp_path: Path) -> None:
    url = await dripping(http, tmp_path / "go")
    known = await until(http, url, lambda job: job["progress"] and job["progress"]["message"] == "time")
    etag = (await http.get(url)).headers["etag"]
    assert etag == f'"{known["version"]}"'
    assert (await http.get(url, headers={"If-None-Match": etag})).status_code == 304
    waiting = asyncio.create_task(http.get(url, headers={"If-None-Match": etag, "Prefer": "wait=30"}))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    seen = []
    (tmp_path / "go").touch()
    while not (job := (answer := await waiting).json())["terminal"]:
        seen.append((job["version"], job["progress"]["step"]))
        waiting = asyncio.create_task(http.get(url, headers={"If-None-Match": answer.headers["etag"], "Prefer": "wait=30"}))
    versions = [known["version"], *(version for version, _ in seen), job["version"]]
    assert versions == sorted(set(versions)), "each answer is a newer one"
    assert job["progress"]["step"] == "the end"


@pytest.mark.parametrize(
    ("end", "members", "status", "code"),
    [
        ("raise", {"policy": {"max_attempts": 1}}, "failed", "model-error"),
        ("exit", {}, "failed", "worker-lost"),
        ("", {"policy": {"timeout": 1, "max_attempts": 1}}, "failed", "timeout"),
        ("cancel", {}, "canceled", "canceled"),
    ],
)
async def test_what_was_yielded_is_there_however_the_job_ended(  # noqa: PLR0917
    http: Http, tmp_path: Path, end: str, members: dict[str, Any], status: str, code: str
) -> None:
    url = await dripping(http, tmp_path / "go", end, **members)
    if end == "cancel":
        assert (await http.post(f"{url}/cancel")).is_success
    elif end:
        (tmp_path / "go").touch()
    job = await until(http, url, lambda job: job["terminal"])
    assert (job["status"], job["error"]["code"], job["output"]) == (status, code, None)
    assert job["progress"]["message"] == "time"
    output = (await http.get(f"{url}/output")).json()
    assert output == {"attempt": 1, "status": status, "complete": False, "truncated": False, "output": SO_FAR}
    assert (await http.get(f"{url}/result")).status_code == 424


async def test_a_retry_begins_the_output_anew(http: Http, tmp_path: Path) -> None:
    url = await dripping(http, tmp_path / "go", "raise once")
    (tmp_path / "go").touch()
    job = await until(http, url, lambda job: job["terminal"])
    assert (job["status"], job["attempt"], job["output"]) == ("succeeded", 2, SO_FAR + ".")
    page = (await http.get(f"{url}/events", headers={"Accept": "application/json"})).json()
    values = [event["data"]["value"] for event in page["events"] if event["type"] == "output"]
    assert values == [*WORDS, *WORDS, "."]


@pytest.mark.parametrize("lease", [2])
async def test_what_a_killed_worker_had_told_stays_when_the_job_is_lost_with_it(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"max_crashes": 1})
    worker = work(settings, tmp_path / "worker.log")
    try:
        async with calling(app_of(settings)) as http:
            url = await dripping(http, tmp_path / "go")
            worker.kill()
            store = Store(settings.redis_url, settings, ticket_template())
            while not (job := (await http.get(url)).json())["terminal"]:
                await store.upkeep.sweep()
                await asyncio.sleep(0.1)
            await store.close()
            assert (job["status"], job["error"]["code"], job["progress"]["message"]) == ("failed", "worker-lost", "time")
            assert (await http.get(f"{url}/output")).json()["output"] == SO_FAR
    finally:
        worker.stop()
