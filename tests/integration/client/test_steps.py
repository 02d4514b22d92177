"""Trees and answers by both clients, on a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.integration.api.conftest import PlayedWorker
from tests.integration.api.trees import DECISION, ask, child, local, running

import longrun
from longrun.client import AsyncClient, StepPiece
from longrun.errors import ApiError
from longrun.store.store import Store


async def test_a_job_is_answered_and_its_tree_is_read(client: AsyncClient, url: str, store: Store) -> None:
    job = await client.submit("echo", {"value": 1})
    step = await child(store, job.id, "n:a")
    await child(store, step, "n:b")
    await local(store, job.id, *(f"l:{n:03}" for n in range(120)))
    await ask(store, job.id, "approve", ask={"draft": "x"})
    (asked,) = (await job.refresh()).asks
    assert (asked["ask"], asked["schema"], job.status) == ({"draft": "x"}, DECISION, "waiting")
    whole = await job.tree(deep=True)
    found = {each["key"]: each for each in whole["steps"]}
    assert len(found) == 122 and [each["key"] for each in found["n:a"]["steps"]] == ["n:b"]
    leaf = await client.job(found["n:a"]["steps"][0]["id"])
    assert (leaf.parent, leaf.root) == (step, job.id)

    def answer_in_ordinary_code() -> Any:
        with longrun.Client(url, "") as ordinary:
            same = ordinary.job(job.id)
            with pytest.raises(ApiError, match="validation-failed"):
                same.signal("approve", {"ok": 1})
            same.signal("approve", {"ok": True})
            same.signal("approve", {"ok": True})
            return same.tree()["steps"]

    assert len(await asyncio.to_thread(answer_in_ordinary_code)) == 122
    with pytest.raises(ApiError, match="already-answered"):
        await job.signal("approve", {"ok": False})
    assert (await job.refresh()).asks == []


async def test_what_steps_yield_is_streamed_when_it_is_asked_for(client: AsyncClient, store: Store, worker: PlayedWorker) -> None:
    job = await client.submit("story", {"prompt": "x"})
    fence = await running(store, job.id)
    events = [("step_output", b'{"step":"n:a","value":"tok"}'), ("output", b'{"value":"own"}')]
    assert await store.claims.append(job.id, fence, 0, b"", events)
    assert await store.claims.finish(job.id, fence, "succeeded", b'"own"') == "succeeded"
    assert [piece async for piece in job.stream()] == ["own"]
    assert [piece async for piece in job.stream(steps=True)] == [StepPiece("n:a", "tok"), "own"]
