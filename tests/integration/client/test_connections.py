"""The client through a network that cuts, freezes and refuses: nothing is lost, nothing is done twice, nothing is told twice."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpx
import pytest
from tests.chaos.proxy import Proxy
from tests.integration.api.conftest import PlayedWorker, app_of, listening

from longrun.client import AsyncClient, AsyncRemoteJob
from longrun.errors import Unreachable
from longrun.settings import Settings
from longrun.store.store import Store


async def tell(worker: PlayedWorker, job: AsyncRemoteJob, count: int) -> None:
    """Yield numbers, slowly enough for the network to break between them, and end."""
    claim = await worker.claim(job.id)
    for number in range(count):
        await worker.append(claim, number, ("output", {"value": number}))
        await asyncio.sleep(0.02)
    await worker.store.claims.finish(job.id, claim.fence, "succeeded", b"[]")


async def test_a_submit_whose_answer_is_lost_makes_one_job(far: AsyncClient, client: AsyncClient, proxy: Proxy) -> None:
    lost = await asyncio.to_thread(proxy.swallow_reply, b"Idempotency-Key")

    job = await far.submit("echo", {"value": 1})

    assert lost.done.is_set()
    assert [each.id async for each in client.jobs()] == [job.id]


async def test_events_are_each_told_once_however_often_the_connection_breaks(far: AsyncClient, proxy: Proxy, worker: PlayedWorker) -> None:
    job = await far.submit("count", {"to": 1})
    telling = asyncio.create_task(tell(worker, job, 80))

    async def cut() -> None:
        for size in range(40):
            await asyncio.to_thread(proxy.cut_after, 150 + size)
            await asyncio.sleep(0.04)

    cutting = asyncio.create_task(cut())
    seqs, values = [], []
    async for event in job.events():
        seqs.append(event.seq)
        values += [event.data["value"]] if event.type == "output" else []
    await telling
    cutting.cancel()

    assert seqs == list(range(1, 84))
    assert values == list(range(80))


async def test_events_go_on_at_another_replica(proxy: Proxy, far: AsyncClient, settings: Settings, worker: PlayedWorker) -> None:
    job = await far.submit("count", {"to": 1})
    telling = asyncio.create_task(tell(worker, job, 40))
    seqs = []
    async with listening(app_of(settings)) as other:
        async for event in job.events():
            seqs.append(event.seq)
            if event.seq == 10:
                proxy.target = other
                await asyncio.to_thread(proxy.reset)
    await telling

    assert seqs == list(range(1, 44))


async def test_a_wait_and_a_map_go_through_a_network_that_drops_requests(
    far: AsyncClient, proxy: Proxy, store: Store, worker: PlayedWorker
) -> None:
    from .test_verbs import work

    await asyncio.to_thread(proxy.drop_some, 0.15, random.Random(7))
    working = asyncio.create_task(work(store, worker, 30))

    results = [result async for result in far.map("echo", [{"value": number} for number in range(30)], concurrency=8)]

    await working
    assert results == list(range(30))
    await asyncio.to_thread(proxy.drop_some, 0.0, random.Random(7))
    assert len([job async for job in far.jobs()]) == 30


async def test_a_server_that_comes_back_is_waited_for(far: AsyncClient, proxy: Proxy) -> None:
    await asyncio.to_thread(proxy.refuse)
    asking = asyncio.create_task(far.models())
    await asyncio.sleep(0.5)
    assert not asking.done()
    await asyncio.to_thread(proxy.admit)

    assert await asking


async def test_a_server_that_stays_away_is_given_up_and_the_submit_says_that_there_is_no_job(proxy: Proxy) -> None:
    await asyncio.to_thread(proxy.refuse)
    async with AsyncClient(f"http://127.0.0.1:{proxy.port}", "", retry_for=0.5) as client:
        with pytest.raises(Unreachable) as caught:
            await client.submit("echo", {"value": 1})

    assert not caught.value.may_exist


async def test_a_submit_given_up_without_an_answer_may_be_repeated_with_its_key(
    proxy: Proxy, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(proxy.swallow_reply, b"Idempotency-Key")
    async with AsyncClient(f"http://127.0.0.1:{proxy.port}", "", retry_for=0) as far:
        with pytest.raises(Unreachable) as caught:
            await far.submit("echo", {"value": 1})
        assert caught.value.may_exist
        job = await far.submit("echo", {"value": 1}, idempotency_key=caught.value.idempotency_key)

    assert [each.id async for each in client.jobs()] == [job.id]


async def test_where_streams_are_held_back_events_come_all_the_same(
    url: str, worker: PlayedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that answers for the server with something else than a stream."""

    class NoStreams(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.headers["Accept"] == "text/event-stream":
                return httpx.Response(406, text="no streams here")
            return await super().handle_async_request(request)

    monkeypatch.setattr(httpx, "AsyncHTTPTransport", NoStreams)
    monkeypatch.setattr("httpx._client.AsyncHTTPTransport", NoStreams)
    async with AsyncClient(url, "") as client:
        job = await client.submit("count", {"to": 1})
        telling = asyncio.create_task(tell(worker, job, 10))
        seen: list[Any] = [event.seq async for event in job.events()]
        await telling

    assert seen == list(range(1, 14))
