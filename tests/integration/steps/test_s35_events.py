"""S35 to S38: what callers see of a tree while it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.integration.api.conftest import API, listening
from tests.integration.steps.conftest import BOTH, Service, Steps
from tests.waiting import PATIENCE

from longrun import AsyncClient
from longrun.api.app import build_app
from longrun.blobs.open import open_blobs
from longrun.models import Registry, load_target
from longrun.queues.celery.tickets import ticket_template
from longrun.service.parts import Parts
from longrun.store.store import Store

APP = Path(__file__).with_name("models_of_trees.py")
WORKERS = [("--queues", "work,flow")]
FLOW = ("--queues", "flow")
HOOK = {"url": "https://example.com/hook", "secret": "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
WORDS = ["word0 ", "word1 ", "word2 "]


async def pieces(steps: Steps, job_id: str, count: int) -> list[dict[str, Any]]:
    """The events `step_output`, as soon as there are so many."""
    for _ in range(int(PATIENCE * 50)):
        found = await steps.events(job_id, "step_output")
        if len(found) >= count:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(await steps.events(job_id))


def values(found: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(each["data"]["step"], each["data"]["value"]) for each in found]


# -- S35 ----------------------------------------------------------------------------------------------------------------------


@BOTH
async def test_s35_what_a_step_yields_is_in_its_parents_log_and_in_no_output(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"listens{kind}", input={"to": str(steps.to)})
    assert values(await pieces(steps, job_id, 1)) == [("n:talk", "word0 ")]
    assert (await steps.http.get(f"{API}/jobs/{job_id}/output")).text.count("word") == 0
    steps.open("word1")
    assert values(await pieces(steps, job_id, 2))[1:] == [("n:talk", "word1 ")]
    steps.open("word2")
    assert await steps.output(job_id) == "own heard word0 word1 word2 "
    assert values(await pieces(steps, job_id, 3)) == [("n:talk", word) for word in WORDS]
    child = await steps.step(job_id, "n:talk")
    assert (await steps.job(child["id"]))["output"] == "".join(WORDS)


async def test_s35_without_stream_nothing_of_it_is_there(steps: Steps) -> None:
    steps.open("all")
    job_id = await steps.submit("does_not_listen", input={"to": str(steps.to)})
    assert await steps.output(job_id) == "".join(WORDS)
    assert await steps.events(job_id, "step_output") == []


async def test_s35_a_stream_goes_through_two_parents(steps: Steps) -> None:
    """What the parent in the middle yields is its grandparent's; what its own step yields stays with it."""
    steps.open("all")
    job_id = await steps.submit("through", input={"to": str(steps.to)})
    await steps.output(job_id)
    assert ("n:mid", "own ") in values(await steps.events(job_id, "step_output"))
    middle = await steps.step(job_id, "n:mid")
    assert values(await steps.events(middle["id"], "step_output")) == [("n:talk", word) for word in WORDS]


@pytest.mark.slow
@BOTH
async def test_s35_s36_a_parent_that_is_away_gets_the_stream_all_the_same(own: Service, mine: Steps, kind: str) -> None:
    own.start("--queues", "work")
    flow = own.start(*FLOW)
    job_id = await mine.submit(f"listens{kind}", input={"to": str(mine.to)})
    await pieces(mine, job_id, 1)
    async with _client(own) as client:
        job = await client.job(job_id)
        heard: list[Any] = []
        plain: list[Any] = []
        restarts: list[int] = []

        async def listen() -> None:
            async for each in job.stream(on_restart=restarts.append, steps=True):
                heard.append(each if isinstance(each, str) else (each.step, each.value))

        async def listen_plainly() -> None:
            async for each in job.stream(on_restart=lambda _: None):
                plain.append(each)

        listening = [asyncio.ensure_future(listen()), asyncio.ensure_future(listen_plainly())]
        await mine.until(job_id, "waiting")
        assert flow.stop() == 0
        mine.open("word1")
        assert len(await pieces(mine, job_id, 2)) == 2
        own.start(*FLOW)
        mine.open("word2")
        assert await mine.output(job_id) == "own heard word0 word1 word2 "
        await asyncio.gather(*listening)
    assert values(await pieces(mine, job_id, 3)) == [("n:talk", word) for word in WORDS]
    assert [each for each in heard if isinstance(each, tuple)] == [("n:talk", word) for word in WORDS]
    assert plain == ["own ", "own ", "heard word0 word1 word2 "]
    assert restarts == [2]
    started = await mine.events(job_id, "started")
    assert [each["data"]["resumed"] for each in started] == [False, True]


def _client(service: Service) -> Any:
    """A client of a real server."""
    import contextlib

    @contextlib.asynccontextmanager
    async def open_client() -> Any:
        registry = Registry()
        load_target(str(service.app), registry)
        settings = service.settings

        def parts() -> Parts:
            return Parts(settings, Store(settings.redis_url, settings, ticket_template()), registry, blobs=open_blobs(settings))

        async with listening(build_app(settings, registry, parts)) as port, AsyncClient(f"http://127.0.0.1:{port}") as client:
            yield client

    return open_client()


# -- S36 ----------------------------------------------------------------------------------------------------------------------


@BOTH
async def test_s36_steps_are_shown_at_their_start_and_end_and_what_is_waited_for(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"every_kind{kind}")
    wait = await steps.step(job_id, "s:go")
    (child,) = [each for each in await steps.tree(job_id) if each["kind"] == "child"]
    await steps.until(job_id, "waiting")
    assert (await steps.post(job_id, "signals/go", "went")).status_code == 200
    assert await steps.output(job_id) == "went"
    shown = [{name: each["data"][name] for name in ("key", "id", "model", "status")} for each in await steps.events(job_id, "step")]
    whole = {"key": "n:old", "id": child["id"], "model": "work"}
    assert shown == [whole | {"status": "queued"}, whole | {"status": "succeeded"}]
    waits = [(each["data"]["for"], each["data"]["until"]) for each in await steps.events(job_id, "waiting")]
    assert waits[0] == (["steps"], None)
    assert waits[-1] == (["go"], wait["until"])


async def test_s36_of_many_steps_the_first_two_hundred_are_shown(steps: Steps) -> None:
    job_id = await steps.submit("wide", 250)
    assert await steps.output(job_id) == sum(range(250))
    shown: list[str] = []
    after = 0
    while True:
        page = (await steps.http.get(f"{API}/jobs/{job_id}/events?after={after}", headers={"Accept": "application/json"})).json()["events"]
        if not page:
            break
        after = page[-1]["seq"]
        shown += [each["data"]["status"] for each in page if each["type"] == "step"]
    assert (shown.count("queued"), shown.count("succeeded")) == (200, 200)


@pytest.mark.slow
@BOTH
async def test_s36_a_resume_is_an_attempt_that_waited_and_is_not_announced(own: Service, mine: Steps, kind: str) -> None:
    own.start("--rehearse")
    hook = HOOK | {"events": ["job.started", "job.succeeded"]}
    job_id = await mine.submit(f"every_kind{kind}", webhook=hook)
    await mine.step(job_id, "s:go")
    await mine.post(job_id, "signals/go", "went")
    assert await mine.output(job_id) == "went"
    assert mine.calls["flow"] >= 3
    attempts = (await mine.http.get(f"{API}/jobs/{job_id}/attempts")).json()["attempts"]
    assert [each["outcome"] for each in attempts] == ["waited", "succeeded"]
    sent = (await mine.http.get(f"{API}/webhook-deliveries?job={job_id}")).json()
    assert sorted(each["type"] for each in next(iter(each for each in sent.values() if isinstance(each, list)))) == [
        "job.started",
        "job.succeeded",
    ]


# -- S37 ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@BOTH
async def test_s37_what_was_said_before_is_not_said_again(own: Service, mine: Steps, kind: str) -> None:
    own.start("--queues", "work", "--events")
    own.start(*FLOW)
    job_id = await mine.submit(f"reports{kind}")
    await mine.called("between")
    await mine.until(job_id, "waiting")
    before = await mine.job(job_id)
    assert before["progress"]["step"] == "between"
    own.restart(*FLOW)
    mine.open("between")
    assert await mine.output(job_id) == "reported"
    assert mine.calls["flow"] == 2
    log = [each["data"]["message"] for each in await mine.events(job_id, "log")]
    assert sorted(each for each in log if each.startswith("logged")) == ["logged between", "logged first", "logged last"]
    printed = [each for each in log if "printed" in each]
    assert [sum(f"printed {at}" in each for each in printed) for at in ("first", "between", "last")] == [1, 1, 1]
    assert [each["data"]["step"] for each in await mine.events(job_id, "progress")] == ["first", "between", "last"]
    assert (await mine.job(job_id))["usage"]["tokens"] == 111


# -- S38 ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@BOTH
async def test_s38_a_tree_shows_each_kind_of_step_and_what_is_unused(own: Service, mine: Steps, kind: str) -> None:
    own.start("--queues", "work")
    own.start(*FLOW)
    job_id = await mine.submit(f"every_kind{kind}")
    await mine.step(job_id, "s:go")
    nodes = {each["key"]: (each["kind"], each["status"], each["unused"]) for each in await mine.tree(job_id)}
    sleeps = [key for key, (what, *_) in nodes.items() if what == "sleep"]
    assert len(sleeps) == 1
    assert nodes == {
        "l:local-old": ("step", "succeeded", False),
        "n:old": ("child", "succeeded", False),
        sleeps[0]: ("sleep", "succeeded", False),
        "s:go": ("wait", "waiting", False),
    }
    # Its code is another one when it goes on.
    mine.open("new")
    own.restart(*FLOW)
    await mine.post(job_id, "signals/go", "went")
    assert await mine.output(job_id) == "went"
    unused = {each["key"]: each["unused"] for each in await mine.tree(job_id)}
    assert unused == {"l:local-old": True, "n:old": True, sleeps[0]: False, "s:go": False, "l:local-new": False, "n:new": False}


async def test_s38_a_tree_comes_in_pages_of_a_hundred(steps: Steps) -> None:
    job_id = await steps.submit("wide", 250)
    await steps.output(job_id)
    sizes, keys, where = [], [], f"{API}/jobs/{job_id}/tree"
    while where:
        page = (await steps.http.get(where)).json()
        sizes.append(len(page["steps"]))
        keys += [each["key"] for each in page["steps"]]
        where = page["next"]
    assert (sizes, len(set(keys))) == ([100, 100, 50], 250)


async def test_s38_lists_dead_letters_and_webhooks_are_for_roots(steps: Steps) -> None:
    endpoint = (await steps.http.post(f"{API}/webhook-endpoints", json={"url": "https://example.com/all"})).json()
    job_id = await steps.submit("fails", webhook=HOOK)
    assert (await steps.until(job_id))["status"] == "failed"
    (child,) = [each["id"] for each in await steps.tree(job_id)]
    assert (await steps.job(child))["status"] == "failed"
    for path, name in (("jobs", "jobs"), ("dead-letters", "jobs"), ("jobs?status=failed", "jobs")):
        listed = [each["id"] for each in (await steps.http.get(f"{API}/{path}")).json()[name]]
        assert job_id in listed and child not in listed, path
    of_root, of_child = [(await steps.http.get(f"{API}/webhook-deliveries?job={each}")).json()["deliveries"] for each in (job_id, child)]
    assert {each["type"] for each in of_root} == {"job.failed"} and len(of_root) == 2
    assert of_child == []
    assert (await steps.http.delete(f"{API}/webhook-endpoints/{endpoint['id']}")).status_code == 204
