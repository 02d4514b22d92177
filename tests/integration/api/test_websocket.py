"""WS /jobs/{id}/ws, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.integration.api.conftest import API, PlayedWorker, app_of, listening
from tests.integration.api.test_stopping import serving
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from longrun.clock import new_job_id
from longrun.settings import Settings

Submit = Callable[..., Any]
KEY = "a key, with ümlaut"


@pytest.fixture
async def url(settings: Settings) -> AsyncIterator[str]:
    """Where a real server is reached."""
    async with listening(app_of(settings)) as port:
        yield f"ws://127.0.0.1:{port}"


async def read(socket: ClientConnection, count: int = 10**6) -> list[dict[str, Any]]:
    """Messages until `count` of them came, or the end."""
    events: list[dict[str, Any]] = []
    try:
        while len(events) < count:
            text = await asyncio.wait_for(socket.recv(), 5)
            assert isinstance(text, str)
            events.append(json.loads(text))
    except ConnectionClosed:
        pass
    return events


async def ending(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason with which the server closes the connection."""
    await asyncio.wait_for(socket.wait_closed(), 5)
    return socket.close_code, socket.close_reason


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


async def refusal(address: str, **options: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, problem and headers of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(address, **options):
            pass
    answer = refused.value.response
    assert answer.body is not None
    return answer.status_code, json.loads(answer.body), {name.lower(): value for name, value in answer.headers.raw_items()}


async def test_it_tells_everything_as_the_stream_does_and_is_closed_after_done(url: str, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit({"prompt": "x"}, "story")
    async with connect(url + job["urls"]["ws"]) as socket:
        assert types(await read(socket, 1)) == ["queued"]
        claim = await worker.claim(job["id"])
        assert types(await read(socket, 1)) == ["started"]
        for number in range(5):
            await worker.append(claim, number, ("output", {"value": str(number)}))
        await worker.store.claims.finish(job["id"], 1, "succeeded", b'"01234"')
        events = await read(socket)
        assert await ending(socket) == (1000, "the job has ended")
    assert [event["seq"] for event in events] == list(range(3, 9))
    assert events[-1]["type"] == "done" and events[-1]["data"]["output"] == "01234"
    async with httpx.AsyncClient() as caller:
        page = (await caller.get(url.replace("ws:", "http:") + job["urls"]["events"], headers={"Accept": "application/json"})).json()
    assert page["events"][2:] == events


async def test_it_goes_on_where_the_caller_was_and_tells_only_what_is_wanted(url: str, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit({"prompt": "x"}, "story")
    await worker.succeed(job["id"], b'"abc"', ["a", "b", "c"])
    async with connect(f"{url}{job['urls']['ws']}?after=3&types=output,done") as socket:
        events = await read(socket)
        assert (await ending(socket))[0] == 1000
    assert [(event["seq"], event["type"]) for event in events] == [(4, "output"), (5, "output"), (6, "done")]
    async with connect(f"{url}{job['urls']['ws']}?after=6") as socket:
        assert await read(socket) == []
        assert await ending(socket) == (1000, "nothing is left, the job has ended or is gone")


async def test_a_gap_is_told_once(url: str, settings: Settings, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit({"prompt": "x"}, "story")
    claim = await worker.claim(job["id"])
    worker.store.claims._log_limits = (10, 10**6)
    await worker.append(claim, 0, *[("output", {"value": str(n)}) for n in range(30)])
    async with connect(url + job["urls"]["ws"]) as socket:
        events = await read(socket, 12)
    assert [event["seq"] for event in events] == [1, 22, *range(23, 33)]
    assert (events[1]["type"], events[1]["data"]) == ("gap", {"from": 2, "to": 22})


async def test_the_caller_can_cancel_the_job(url: str, submit: Submit, worker: PlayedWorker) -> None:
    waiting, running = await submit(), await submit()
    async with connect(url + waiting["urls"]["ws"]) as socket:
        await socket.send('{"cancel": true}')
        events = await read(socket)
        assert types(events) == ["queued", "done"] and events[-1]["data"]["status"] == "canceled"
        assert (await ending(socket))[0] == 1000
    claim = await worker.claim(running["id"])
    async with connect(url + running["urls"]["ws"]) as socket:
        await socket.send('{"cancel":true}')
        assert types(await read(socket, 3)) == ["queued", "started", "canceling"]
        await socket.send('{"cancel":true}')
        await worker.store.claims.finish(running["id"], claim.attempt, "canceled", b'{"code":"canceled"}')
        assert types(await read(socket)) == ["done"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("hello", 1008),
        ('{"cancel": false}', 1008),
        ('{"cancel": 1}', 1008),
        ('{"cancel": true, "now": true}', 1008),
        ("[]", 1008),
        ("\u0000", 1008),
        (b'{"cancel": true}', 1003),
        ("x" * (64 * 1024 - 1), 1008),
    ],
)
async def test_anything_else_is_refused_with_what_may_be_said(url: str, submit: Submit, message: str | bytes, code: int) -> None:
    job = await submit()
    async with connect(url + job["urls"]["ws"]) as socket:
        await socket.send(message)
        closed, reason = await ending(socket)
    assert closed == code and reason is not None and 'send {"cancel": true} or nothing' in reason


async def test_a_message_over_64_kb_is_not_read(settings: Settings, submit: Submit) -> None:
    job = await submit()
    async with serving(settings) as served, connect(served.url.replace("http", "ws") + job["urls"]["ws"]) as socket:
        await socket.send("x" * (64 * 1024 + 1))
        assert (await ending(socket))[0] == 1009


async def test_a_handshake_that_is_refused_gets_a_problem(
    url: str, caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    job = await submit()
    address = url + job["urls"]["ws"]
    status, problem, headers = await refusal(f"{url}{API}/jobs/{new_job_id()}/ws")
    assert (status, problem["code"], headers["content-type"]) == (404, "job-not-found", "application/problem+json")
    assert problem["request_id"] == headers["x-request-id"]
    assert (await refusal(f"{url}{API}/jobs/nonsense/ws"))[0] == 404
    assert (await refusal(address + "?after=x"))[0] == 422
    status, problem, _ = await refusal(address + "?types=nonsense")
    assert (status, problem["errors"][0]["pointer"]) == (422, "/query/types")
    assert (await refusal(address, origin="https://elsewhere.example"))[0] == 403
    await worker.succeed(job["id"])
    await caller.delete(job["urls"]["self"])
    assert (await refusal(address))[:2][0] == 410


async def test_a_foreign_origin_that_is_allowed_may_come_in(settings: Settings, submit: Submit) -> None:
    job = await submit()
    allowing = settings.model_copy(update={"allowed_origins": ("https://elsewhere.example",)})
    page = Origin("https://elsewhere.example")
    async with listening(app_of(allowing)) as port, connect(f"ws://127.0.0.1:{port}{job['urls']['ws']}", origin=page) as socket:
        assert types(await read(socket, 1)) == ["queued"]


def as_protocols(key: str) -> list[Subprotocol]:
    return [Subprotocol("longrun.v1"), Subprotocol("bearer." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("="))]


async def test_a_key_comes_as_a_header_or_from_a_browser_as_a_subprotocol(settings: Settings, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    keyed = Settings(**{**settings.model_dump(), "api_keys": {"default": KEY, "other": "another-key"}})
    async with listening(app_of(keyed)) as port:
        address = f"ws://127.0.0.1:{port}{job['urls']['ws']}"
        assert (await refusal(address))[0] == 401
        assert (await refusal(address, subprotocols=as_protocols("wrong")))[0] == 401
        assert (await refusal(address, subprotocols=[Subprotocol("bearer.%%%")]))[0] == 401
        assert (await refusal(address, subprotocols=as_protocols("another-key")))[0] == 404
        async with connect(address, subprotocols=as_protocols(KEY)) as socket:
            assert socket.subprotocol == "longrun.v1"
            assert types(await read(socket, 1)) == ["queued"]
        headers = {"Authorization": "Bearer another-key"}
        assert (await refusal(address, subprotocols=as_protocols(KEY), additional_headers=headers))[0] == 404


async def test_a_client_that_asks_for_no_subprotocol_gets_none(url: str, submit: Submit) -> None:
    job = await submit()
    async with connect(url + job["urls"]["ws"], additional_headers={"X-Request-Id": "mine"}) as socket:
        assert socket.subprotocol is None
        assert socket.response is not None and socket.response.headers["X-Request-Id"] == "mine"


async def test_without_a_handshake_it_is_426(caller: httpx.AsyncClient, submit: Submit) -> None:
    job = await submit()
    answer = await caller.get(job["urls"]["ws"])
    assert (answer.status_code, answer.json()["code"], answer.headers["upgrade"]) == (426, "upgrade-required", "websocket")
    assert (await caller.head(job["urls"]["ws"])).status_code == 426
    assert (await caller.options(job["urls"]["ws"])).status_code == 405
    assert (await caller.post(job["urls"]["ws"])).status_code == 405


async def test_a_deleted_job_ends_it(url: str, caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    async with connect(f"{url}{job['urls']['ws']}?types=log") as socket:
        await asyncio.sleep(0.1)
        await worker.succeed(job["id"])
        await caller.delete(job["urls"]["self"])
        assert await read(socket) == []
        assert (await ending(socket))[0] == 1000


async def test_a_cancel_of_a_lost_job_closes_it_as_lost(url: str, submit: Submit, settings: Settings, worker: PlayedWorker) -> None:
    job = await submit()
    async with connect(url + job["urls"]["ws"]) as socket:
        await read(socket, 1)
        await worker.store.connection.command("DEL", f"{settings.prefix}job:{job['id']}")
        await socket.send('{"cancel": true}')
        assert await ending(socket) == (4404, "job-lost: The job was lost")


async def test_a_server_that_stops_says_so_and_another_goes_on(settings: Settings, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    async with serving(settings) as served:
        async with connect(served.url.replace("http", "ws") + job["urls"]["ws"]) as socket:
            seen = await read(socket, 1)
            served.tell()
            assert await read(socket) == []
            assert (await ending(socket))[0] == 1012
        await served.ended()
    await worker.succeed(job["id"])
    rest = f"{job['urls']['ws']}?after={seen[-1]['seq']}"
    async with serving(settings) as served, connect(served.url.replace("http", "ws") + rest) as socket:
        assert types(await read(socket)) == ["started", "done"]


async def test_in_an_app_that_is_mounted_it_is_under_its_prefix(settings: Settings, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    outer, inner = FastAPI(), app_of(settings)
    outer.mount("/ai", inner)
    async with listening(outer) as port:
        async with connect(f"ws://127.0.0.1:{port}/ai{job['urls']['ws']}") as socket:
            await worker.succeed(job["id"])
            events = await read(socket)
        assert types(events) == ["queued", "started", "done"]
        assert events[-1]["data"]["urls"]["ws"] == f"/ai{job['urls']['ws']}"
    await inner.state.longrun.close()


async def test_of_clients_that_vanish_nothing_is_left(settings: Settings, submit: Submit, worker: PlayedWorker) -> None:
    app = app_of(settings)
    async with listening(app) as port:
        job = await submit()
        before = asyncio.all_tasks()
        for leave in (lambda socket: socket.transport.abort(), lambda socket: None):
            for _ in range(3):
                async with connect(f"ws://127.0.0.1:{port}{job['urls']['ws']}") as socket:
                    await read(socket, 1)
                    leave(socket)
        channel = worker.store.job_channel(job["id"])
        for _ in range(1200):
            _, listeners = await worker.store.connection.command("PUBSUB", "NUMSUB", channel)
            left = [task for task in asyncio.all_tasks() - before if "_read" not in repr(task)]
            if listeners == 0 and not left:
                break
            await asyncio.sleep(0.05)
        assert (listeners, left) == (0, [])


async def test_a_reader_that_takes_nothing_is_told_where_to_go_on(
    settings: Settings, submit: Submit, worker: PlayedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longrun.api.streams.websocket.WRITE_PATIENCE", 0.5)
    job = await submit({"prompt": "x"}, "story")
    claim = await worker.claim(job["id"])
    slow: dict[str, Any] = {"max_queue": 1, "compression": None}
    async with listening(app_of(settings)) as port, connect(f"ws://127.0.0.1:{port}{job['urls']['ws']}", **slow) as socket:
        for number in range(0, 400, 20):
            await worker.append(claim, number, *[("output", {"value": "x" * 50_000})] * 20)
        await asyncio.sleep(1.5)
        events = await read(socket)
        code, reason = await ending(socket)
    assert (code, reason) == (1013, f"resume with ?after={events[-1]['seq']}")
    assert 1 < events[-1]["seq"] < 402
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
