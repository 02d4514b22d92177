"""S33, S34 and S43: how long a tree is kept, what its jobs inherit, and how it goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.api.conftest import API
from tests.integration.steps.conftest import BOTH, Steps

APP = Path(__file__).with_name("models_of_trees.py")
WORKERS = [("--queues", "work,flow,one")]


async def status(steps: Steps, path: str) -> int:
    return (await steps.http.get(f"{API}/{path}")).status_code


async def look_at(steps: Steps, *ids: str) -> None:
    """The chore looks at these now."""
    for each in ids:
        await steps.store.connection.command("ZADD", f"{steps.store.prefix}expire", 1, each)
    while await steps.store.upkeep.expire():
        pass


async def time_is_over(steps: Steps, root: str) -> None:
    """That of a root, which has one of its own."""
    assert (await steps.field(root, "expires") or "").isdigit()
    await steps.store.connection.command("HSET", f"{steps.store.prefix}job:{root}", "expires", 1)
    await look_at(steps, root)


async def wait_until(steps: Steps, path: str, wanted: int) -> None:
    for _ in range(600):
        if await status(steps, path) == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path}: {await status(steps, path)}")


# -- S33 ----------------------------------------------------------------------------------------------------------------------


@BOTH
async def test_s33_a_child_and_its_file_live_as_long_as_the_root(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"makes{kind}", input={"to": str(steps.to)})
    file_id = (await steps.output(job_id))["file"]["id"]
    child = (await steps.step(job_id, "fleeting:"))["id"]
    await look_at(steps, child)
    assert (await steps.job(child))["output"]["id"] == file_id
    content = await steps.http.get(f"{API}/files/{file_id}/content")
    assert (content.status_code, content.content) == (200, b"kept")
    await time_is_over(steps, job_id)
    assert (await status(steps, f"jobs/{job_id}"), await status(steps, f"jobs/{child}")) == (410, 410)
    await wait_until(steps, f"files/{file_id}/content", 410)


@BOTH
async def test_s33_a_child_of_an_item_lives_as_long_as_the_batch(steps: Steps, kind: str) -> None:
    body = {"inputs": [{"to": str(steps.to)}], "policy": {"retain_for": 0}}
    batch = (await steps.http.post(f"{API}/models/makes{kind}/batches", json=body)).json()
    path = f"batches/{batch['id']}"
    await until_true(steps, path)
    (line,) = (await steps.http.get(f"{API}/{path}/results")).text.splitlines()
    item = line.split('"id":"')[1].split('"')[0]
    child = (await steps.step(item, "fleeting:"))["id"]
    await look_at(steps, child, item)
    assert (await status(steps, f"jobs/{item}"), await status(steps, f"jobs/{child}")) == (200, 200)
    await steps.store.connection.command("HSET", f"{steps.store.prefix}batch:{batch['id']}", "expires", 1)
    await look_at(steps, item)
    assert await status(steps, f"jobs/{item}") == 410
    assert await status(steps, f"jobs/{child}") == 410


async def until_true(steps: Steps, path: str) -> None:
    for _ in range(600):
        if (await steps.http.get(f"{API}/{path}")).json()["terminal"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(path)


@BOTH
async def test_s33_what_a_retry_has_taken_over_lives_as_long_as_that(steps: Steps, kind: str) -> None:
    first = await steps.submit(f"makes{kind}", input={"to": str(steps.to), "fails": True})
    assert (await steps.until(first))["status"] == "failed"
    child, failed = [each["id"] for each in await steps.tree(first)]
    steps.open("mend-b")
    second = (await steps.post(first, "retry")).json()["id"]
    file_id = (await steps.output(second))["file"]["id"]
    assert (await steps.tree(second))[0]["id"] == child
    await time_is_over(steps, first)
    await look_at(steps, child)
    assert await status(steps, f"jobs/{first}") == 410
    while await steps.store.upkeep.bury():
        pass
    assert (await status(steps, f"jobs/{child}"), await status(steps, f"files/{file_id}/content")) == (200, 200)
    assert await status(steps, f"jobs/{failed}") in (200, 410)
    await time_is_over(steps, second)
    assert await status(steps, f"jobs/{child}") == 410
    await wait_until(steps, f"files/{file_id}/content", 410)


# -- S34 ----------------------------------------------------------------------------------------------------------------------


async def test_s34_priority_tenant_and_tags_are_those_of_the_root(steps: Steps) -> None:
    body = {"input": {"to": str(steps.to), "n": 1}, "priority": 8, "tags": ["a", "b"]}
    root = (await steps.http.post(f"{API}/models/nests/jobs", json=body)).json()["id"]
    await steps.output(root)
    below = await steps.step(root, "n:0")
    leaf = await steps.step(below["id"], "n:leaf")
    for name in ("priority", "tenant", "tags"):
        wanted = await steps.field(root, name)
        assert [await steps.field(each["id"], name) for each in (below, leaf)] == [wanted, wanted], name
    assert (await steps.job(leaf["id"]))["tags"] == ["a", "b"]
    assert ((await steps.job(leaf["id"]))["root"], (await steps.job(leaf["id"]))["parent"]) == (root, below["id"])


@pytest.mark.slow
@BOTH
async def test_s34_a_child_stands_where_its_root_would(steps: Steps, kind: str) -> None:
    """In a lane that does one job at a time: those accepted before the root go before its steps, those accepted after it behind."""

    async def plain(name: str, *, wait: bool = False, priority: int = 5) -> str:
        return await steps.submit("turn", input={"name": name, "to": str(steps.to), "wait": wait}, priority=priority)

    await plain("holds", wait=True)
    await steps.called("holds")
    await plain("before")
    root = await steps.submit(f"takes_turns{kind}")
    await steps.step(root, "turn:")
    after = [await plain(f"after{each}") for each in range(9)]
    urgent = await plain("urgent", priority=6)
    steps.open("holds")
    assert await steps.output(root) == "done"
    for each in (*after, urgent):
        await steps.until(each)
    order = [name for name, _ in steps.lines()]
    assert order.index("before") < order.index("step0") < order.index("after3"), order
    assert order.index("urgent") < order.index("after3"), order  # a worker has a few tickets beforehand
    assert order.index("step2") < order.index("after8"), order


# -- S43 ----------------------------------------------------------------------------------------------------------------------


async def test_s43_with_its_root_each_job_of_a_tree_is_gone_at_once_and_erased_later(steps: Steps) -> None:
    root = await steps.submit("nests", input={"to": str(steps.to), "n": 3})
    assert await steps.output(root) == 15
    below: list[str] = []
    todo = [root]
    while todo:
        children = [each["id"] for each in await steps.tree(todo.pop())]
        below += children
        todo += children
    assert len(below) == 14 + 8
    assert (await steps.http.delete(f"{API}/jobs/{below[0]}")).json()["code"] == "not-a-root"
    assert (await steps.http.delete(f"{API}/jobs/{root}")).status_code == 204
    assert {await status(steps, f"jobs/{each}{more}") for each in below for more in ("", "/result", "/events", "/tree", "/attempts")} == {
        410
    }
    for each in below:
        while await steps.field(each, "output") is not None or await steps.field(each, "input") is not None:
            await steps.store.upkeep.bury()
            await asyncio.sleep(0.01)
    assert {
        await steps.store.connection.command("EXISTS", f"{steps.store.prefix}{name}:{each}")
        for each in (root, *below)
        for name in ("steps", "ends")
    } == {0}


@BOTH
async def test_s43_what_a_retry_has_adopted_stays(steps: Steps, kind: str) -> None:
    first = await steps.submit(f"makes{kind}", input={"to": str(steps.to), "fails": True})
    await steps.until(first)
    child, failed = [each["id"] for each in await steps.tree(first)]
    steps.open("mend-b")
    second = (await steps.post(first, "retry")).json()["id"]
    file_id = (await steps.output(second))["file"]["id"]
    assert (await steps.http.delete(f"{API}/jobs/{first}")).status_code == 204
    while await steps.store.upkeep.bury():
        pass
    assert await status(steps, f"jobs/{first}") == 410
    assert (await status(steps, f"jobs/{child}"), await status(steps, f"files/{file_id}/content")) == (200, 200)
    assert failed != child
    assert (await steps.http.delete(f"{API}/jobs/{second}")).status_code == 204
    assert await status(steps, f"jobs/{child}") == 410
