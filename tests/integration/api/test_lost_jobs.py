"""A job that the store has lost ends for everybody who waits for it with an error that says so, and a log that went back does too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.api.conftest import API, PlayedWorker, listening
from tests.integration.api.served import served
from tests.integration.api.test_events import read
from tests.integration.api.test_websocket import ending
from tests.integration.api.test_websocket import read as read_socket
from tests.integration.store.lost_stores import cut_power, written
from tests.integration.store.test_scripts import submit
from tests.waiting import PATIENCE
from websockets.asyncio.client import connect

from longrun.api.app import build_app
from longrun.chores.loss_watch import LossWatch
from longrun.chores.run import every
from longrun.client import AsyncClient
from longrun.clock import new_batch_id, new_job_id
from longrun.embedded import EmbeddedValkey
from longrun.errors import ApiError, BatchLost, EventsLost, JobLost
from longrun.queues.celery.tickets import ticket_template
from longrun.service import batches
from longrun.service import read as read_job
from longrun.service.batch_results import results
from longrun.service.caller import Caller
from longrun.service.parts import Parts
from longrun.service.watch import follow
from longrun.settings import Settings
from longrun.store.formats import FORMAT
from longrun.store.server_facts import write_about
from longrun.store.store import Store

STORY = f"{API}/models/story/jobs"
BODY = {"input": {"prompt": "x"}}


class Service:
    """A real server over a Valkey of its own whose power can be cut."""

    def __init__(self, valkey: EmbeddedValkey, settings: Settings, store: Store) -> None:
        self.valkey, self.settings, self.store = valkey, settings, store
        self.worker = PlayedWorker(store)
        self.port = 0

    async def remember(self) -> int:
        """What is on the disk: all until now, and a mark of the API."""
        await self.marked()
        return await written(self.valkey, self.store)

    def cut_power(self, kept: int) -> None:
        """The server dies, and starts again with what had been on the disk."""
        cut_power(self.valkey, kept)
        self.valkey.start()

    async def marked(self) -> None:
        """Wait until the API has left another mark."""
        key, before = f"{self.settings.prefix}marked", b""
        async with asyncio.timeout(PATIENCE):
            while True:
                mark = await self.store.connection.command("GET", key)
                if before and mark and mark != before:
                    return
                before = before or mark
                await asyncio.sleep(0.01)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    with EmbeddedValkey(tmp_path / "data") as valkey:
        url = valkey.start()
        settings = Settings(redis_url=url, blobs=(tmp_path / "blobs").as_uri(), lease=30, heartbeat=0.5, store_timeout=30)
        store = Store(url, settings, ticket_template())
        await write_about(store, 1, FORMAT, timeout=5)
        service = Service(valkey, settings, store)
        async with listening(app_of(settings)) as service.port:
            async with httpx.AsyncClient() as caller:
                await caller.get(f"http://127.0.0.1:{service.port}/readyz")  # the parts are opened by whoever needs them first
            yield service
        await store.close()


def app_of(settings: Settings) -> FastAPI:
    """The app, with the watch of its process at twenty times its pace."""

    def open_parts() -> Parts:
        return Parts(settings, Store(settings.redis_url, settings, ticket_template()), served())

    async def beside(parts: Parts) -> None:
        await every(0.05, "loss_watch", LossWatch(parts.store.losses).look)

    return build_app(settings, served(), open_parts, beside)


@pytest.fixture
async def remote(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=60) as caller:
        yield caller


async def test_everybody_who_waits_for_a_job_that_vanished_gets_an_error(service: Service, remote: httpx.AsyncClient) -> None:
    size = await service.remember()
    job = (await remote.post(STORY, json=BODY)).json()
    batch = (await remote.post(f"{API}/models/story/batches", json=[{"prompt": "x"}])).json()
    where, client = job["urls"], AsyncClient(f"http://127.0.0.1:{service.port}", retry_for=30)
    async with contextlib.AsyncExitStack() as stack:
        stream = await stack.enter_async_context(remote.stream("GET", f"{where['events']}?types=output"))
        submitting = await stack.enter_async_context(remote.stream("POST", STORY, json=BODY, headers={"Accept": "text/event-stream"}))
        socket = await stack.enter_async_context(connect(f"ws://127.0.0.1:{service.port}{where['ws']}?types=output"))
        reading = [asyncio.create_task(each) for each in (read(stream), read(submitting), read_socket(socket))]
        waiting = [
            asyncio.create_task(each)
            for each in (
                remote.get(where["self"], headers={"Prefer": "wait=50"}),
                remote.post(STORY, json=BODY, headers={"Prefer": "wait=50"}),
                remote.get(batch["urls"]["self"], headers={"Prefer": "wait=50"}),
            )
        ]
        following = asyncio.create_task(followed(client, job["id"]))
        await asyncio.sleep(0.3)  # all of them wait in the server
        await service.marked()
        service.cut_power(size)
        for events in await asyncio.gather(*reading):
            assert [(event["type"], event["seq"]) for event in events if event["type"] != "queued"] == [("error", 0)]
            assert {name: events[-1]["data"][name] for name in ("code", "status")} == {"code": "job-lost", "status": 404}
        assert await ending(socket) == (4404, "job-lost: The job was lost")
        answers = [(answer.status_code, answer.json()["code"]) for answer in await asyncio.gather(*waiting)]
        assert answers == [(404, "job-lost"), (404, "job-lost"), (404, "batch-lost")]
        assert await following == "job-lost"
    await ready_with_loss(remote)
    for path in (where["self"], where["result"], where["events"], batch["urls"]["self"], batch["urls"]["results"]):
        answer = await remote.get(path)
        assert answer.status_code == 404 and answer.json()["code"] in ("job-lost", "batch-lost"), path
        assert "may be lost: the server was started again without it" in answer.json()["detail"]
    assert (await remote.get(f"{API}/jobs/job_{'0' * 32}")).json()["code"] == "job-not-found", "its id is of another time"
    await client.close()


async def followed(client: AsyncClient, job_id: str) -> str:
    """The code of the error with which a client's iteration ends."""
    with pytest.raises(ApiError) as raised:
        async for _ in (await client.job(job_id)).events():
            pass
    return raised.value.code


async def ready_with_loss(remote: httpx.AsyncClient) -> str:
    """What /readyz says of the loss. It stays 200."""
    while True:
        answer = await remote.get("/readyz")
        assert answer.status_code == 200
        if "lost" in answer.json()["checks"]:
            return str(answer.json()["checks"]["lost"])
        await asyncio.sleep(0.02)


async def test_a_reader_whose_log_went_back_is_sent_to_its_beginning(service: Service, remote: httpx.AsyncClient) -> None:
    job = (await remote.post(STORY, json=BODY)).json()
    claim = await service.worker.claim(job["id"])
    await service.worker.append(claim, 0, ("output", {"value": "a"}))
    size = await service.remember()
    events, ws = job["urls"]["events"], f"ws://127.0.0.1:{service.port}{job['urls']['ws']}"
    async with remote.stream("GET", events) as stream, connect(ws) as socket:
        await service.worker.append(claim, 1, ("output", {"value": "b"}), ("output", {"value": "c"}))
        reading = asyncio.create_task(read(stream))
        assert len(await read_socket(socket, 5)) == 5
        await asyncio.sleep(0.3)  # the other reader has them too
        await service.marked()
        service.cut_power(size)
        first, last = await reading, await read_socket(socket)
        assert [event["seq"] for event in first[:-1]] == [1, 2, 3, 4, 5]
        assert [(event["type"], event["data"]["code"]) for event in (first[-1], *last)] == [("error", "events-lost")] * 2
        assert (await ending(socket))[0] == 4409
    await ready_with_loss(remote)
    for path, headers in ((events, {"Last-Event-ID": "5"}), (f"{events}?after=5", {"Accept": "application/json"})):
        answer = await remote.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "events-lost")
    page = (await remote.get(f"{events}?after=3", headers={"Accept": "application/json"})).json()
    assert page == {"events": [], "next": 3, "terminal": False}
    fresh = (await remote.post(STORY, json=BODY)).json()
    ahead = await remote.get(f"{fresh['urls']['events']}?after=9", headers={"Accept": "application/json"})
    assert ahead.status_code == 200, "a job that was accepted after the loss has lost nothing"


async def test_other_events_under_the_seqs_that_a_reader_has_are_noticed_too(
    settings: Settings, store: Store, worker: PlayedWorker
) -> None:
    """As when the log had grown again before the reader looked."""
    caller = Caller(Parts(settings, store, served()), "default")
    job_id = await submit(store, tenant="default")
    claim = await worker.claim(job_id)
    await worker.append(claim, 0, ("output", {"value": "a"}))
    log, channel = f"{settings.prefix}ev:{job_id}", store.job_channel(job_id)
    pieces = follow(caller, job_id, 0)
    assert [event.seq for event in await anext(pieces)] == [1, 2, 3]

    async def look_again() -> list[int]:
        reading = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0.05)
        store.follower._take("subscribe", channel.encode(), b"")
        return [event.seq for event in await reading]

    await worker.append(claim, 1, ("output", {"value": "b"}))
    seen: list[int] = []
    while seen[-1:] != [4]:
        seen += [event.seq for event in await anext(pieces)]
    assert await look_again() == [], "the connection was lost, and the log goes on"
    stored = await store.connection.command("LINDEX", log, -1)
    await store.connection.command("LSET", log, -1, stored.replace(stored.split(b" ")[1], b"1700000000000"))
    await store.connection.command("RPUSH", log, stored)
    with pytest.raises(EventsLost):
        await look_again()
    await pieces.aclose()


async def test_a_log_that_becomes_shorter_is_noticed_without_a_break_of_the_connection(settings: Settings, store: Store) -> None:
    """As when a running server takes up older data."""
    worker, caller = PlayedWorker(store), Caller(Parts(settings, store, served()), "default")
    job_id = await submit(store, tenant="default")
    await worker.append(await worker.claim(job_id), 0, ("output", {"value": "a"}))
    pieces = follow(caller, job_id, 0)
    assert len(await anext(pieces)) == 3
    await store.connection.command("LTRIM", f"{settings.prefix}ev:{job_id}", 0, 0)
    reading = asyncio.ensure_future(anext(pieces))
    while not reading.done():
        await store.connection.command("PUBLISH", store.job_channel(job_id), "events")
        await asyncio.sleep(0.02)
    with pytest.raises(EventsLost):
        await reading
    await pieces.aclose()


async def test_who_waits_learns_of_a_lost_job_also_when_the_loss_is_not_known_yet(caller: httpx.AsyncClient, store: Store) -> None:
    async def lose(answer: asyncio.Task[httpx.Response], pattern: str) -> tuple[int, str]:
        await asyncio.sleep(0.2)  # it waits
        while not answer.done():
            for key in await store.connection.command("KEYS", f"{store.prefix}{pattern}"):
                await store.connection.command("DEL", key)
                await store.connection.command("PUBLISH", store.job_channel(key.decode().rpartition(":")[2]), "gone")
            await asyncio.sleep(0.05)
        return (await answer).status_code, (await answer).json()["code"]

    wait = {"Prefer": "wait=60"}
    job = (await caller.post(STORY, json=BODY)).json()
    assert await lose(asyncio.ensure_future(caller.get(job["urls"]["self"], headers=wait)), "job:*") == (404, "job-lost")
    assert await lose(asyncio.ensure_future(caller.post(STORY, json=BODY, headers=wait)), "job:*") == (404, "job-lost")
    batches_at = f"{API}/models/story/batches"
    batch = (await caller.post(batches_at, json=[{"prompt": "x"}])).json()
    assert await lose(asyncio.ensure_future(caller.get(batch["urls"]["self"], headers=wait)), "batch:*") == (404, "batch-lost")
    assert await lose(asyncio.ensure_future(caller.post(batches_at, json=[{"prompt": "x"}], headers=wait)), "batch:*") == (
        404,
        "batch-lost",
    )
    assert (await caller.get(job["urls"]["self"])).json()["code"] == "job-not-found"


async def test_a_job_that_is_lost_between_its_submit_and_the_wait_is_lost_too(settings: Settings, store: Store) -> None:
    caller = Caller(Parts(settings, store, served()), "default")
    with pytest.raises(JobLost):
        await read_job.wait(caller, new_job_id(), timeout=1, accepted=True)
    with pytest.raises(BatchLost):
        await batches.wait(caller, new_batch_id(), timeout=1, accepted=True)


async def test_results_of_a_batch_that_went_back_break_off(service: Service, remote: httpx.AsyncClient) -> None:
    caller = Caller(Parts(service.settings, service.store, served()), "default")
    accepted = (await remote.post(f"{API}/models/story/batches", json=[{"prompt": "x"}] * 3)).json()
    batch = await batches.get(caller, accepted["id"])
    assert batch.fed == 3
    await service.store.connection.command("HSET", f"{service.settings.prefix}batch:{batch.id}", "fed", "0")
    with pytest.raises(BatchLost):
        [line async for line in results(caller, batch, 0, None)]
