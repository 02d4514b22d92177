"""GET /jobs/{id}/events: pages in process, streams over a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import API, PlayedWorker, app_of, listening

from longrun.settings import Settings
from longrun.store.store import Store

Submit = Callable[..., Any]
PAGE = {"Accept": "application/json"}


@pytest.fixture
async def remote(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of a real server."""
    async with listening(app_of(settings)) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as caller:
        yield caller


async def read(stream: httpx.Response, count: int = 10**6) -> list[dict[str, Any]]:
    """Events of a stream until `count` of them came, or its end; each frame has `id` and `data` only."""
    events: list[dict[str, Any]] = []
    fields: dict[str, str] = {}
    async for line in stream.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            assert set(fields) - {"retry"} == {"id", "data"}
            events.append(json.loads(fields["data"]))
            assert fields["id"] == str(events[-1]["seq"])
            if len(events) == count:
                return events
        fields = {}
    return events


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


async def finished(submit: Submit, worker: PlayedWorker) -> dict[str, Any]:
    """A job that has yielded three words and succeeded."""
    job: dict[str, Any] = await submit({"prompt": "x"}, "story")
    await worker.succeed(job["id"], b'"a b c"', ["a ", "b ", "c"])
    return job


async def test_a_page_holds_the_events_in_order(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await finished(submit, worker)
    page = (await caller.get(job["urls"]["events"], headers=PAGE)).json()
    assert types(page["events"]) == ["queued", "started", "output", "output", "output", "done"]
    assert [event["seq"] for event in page["events"]] == [1, 2, 3, 4, 5, 6]
    assert (page["next"], page["terminal"]) == (None, True)
    assert set(page["events"][0]) == {"seq", "attempt", "at", "type", "data"}
    assert (page["events"][2]["data"], page["events"][2]["attempt"]) == ({"value": "a "}, 1)
    done = page["events"][5]["data"]
    assert (done["status"], done["output"], done["urls"]) == ("succeeded", "a b c", job["urls"])


async def test_a_page_of_an_unfinished_job_says_where_to_go_on(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    page = (await caller.get(job["urls"]["events"], headers=PAGE)).json()
    assert (types(page["events"]), page["next"], page["terminal"]) == (["queued"], 1, False)
    page = (await caller.get(f"{job['urls']['events']}?after=1", headers=PAGE)).json()
    assert page == {"events": [], "next": 1, "terminal": False}
    await worker.claim(job["id"])
    page = (await caller.get(f"{job['urls']['events']}?after=1", headers=PAGE)).json()
    assert (types(page["events"]), page["next"]) == (["started"], 2)


async def test_only_the_types_asked_for_are_shown(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await finished(submit, worker)
    page = (await caller.get(f"{job['urls']['events']}?types=output,done", headers=PAGE)).json()
    assert types(page["events"]) == ["output", "output", "output", "done"]
    answer = await caller.get(f"{job['urls']['events']}?types=nonsense")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/types")


async def test_a_place_that_is_no_number_is_422(caller: httpx.AsyncClient, submit: Submit) -> None:
    job = await submit()
    assert (await caller.get(f"{job['urls']['events']}?after=x")).status_code == 422
    assert (await caller.get(job["urls"]["events"], headers={"Last-Event-ID": "x"})).status_code == 422


async def test_nothing_left_of_a_finished_job_is_204(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await finished(submit, worker)
    for after in ("6", "7", "9" * 50):
        assert (await caller.get(job["urls"]["events"], headers={"Last-Event-ID": after})).status_code == 204
    assert (await caller.get(job["urls"]["events"], headers=PAGE | {"Last-Event-ID": "6"})).json() == {
        "events": [],
        "next": None,
        "terminal": True,
    }


async def test_a_retry_is_told_with_its_reason_as_a_problem(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit({"image": "x"}, "captioner")
    await worker.claim(job["id"])
    await worker.store.claims.retry_later(job["id"], "1/n", 30, b'{"code":"model-error","detail":"x","attempt":1,"debug":"secret"}')
    answer = await caller.get(f"{job['urls']['events']}?types=retrying", headers=PAGE)
    (event,) = answer.json()["events"]
    assert event["data"]["reason"]["code"] == "model-error" and event["data"]["reason"]["instance"] == job["urls"]["self"]
    assert event["data"]["next_attempt_at"].endswith("Z") and "secret" not in answer.text


async def test_a_large_output_is_left_out_of_the_last_event(caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    await worker.succeed(job["id"], b'"' + b"x" * 70_000 + b'"')
    (event,) = (await caller.get(f"{job['urls']['events']}?types=done", headers=PAGE)).json()["events"]
    assert event["data"]["status"] == "succeeded" and "output" not in event["data"]


async def test_a_stream_tells_everything_as_it_happens_and_then_ends(
    remote: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    job = await submit({"prompt": "x"}, "story")
    async with remote.stream("GET", job["urls"]["events"]) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-store, no-transform", "no")
        reading = asyncio.create_task(read(stream))
        await asyncio.sleep(0.2)
        claim = await worker.claim(job["id"])
        await worker.append(claim, 0, ("output", {"value": "a"}), ("log", {"level": "info", "message": "line\nbreak"}))
        await worker.store.claims.finish(job["id"], "1/n", "succeeded", b'"a"')
        events = await asyncio.wait_for(reading, 60)
    assert types(events) == ["queued", "started", "output", "log", "done"]


async def test_a_stream_hints_when_to_connect_again(remote: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await finished(submit, worker)
    assert (await remote.get(job["urls"]["events"])).text.startswith("retry: 2000\nid: 1\ndata: {")


async def test_an_event_arrives_as_soon_as_it_happens(
    remote: httpx.AsyncClient, submit: Submit, worker: PlayedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without its note it would be found only when the reader looks by itself.
    monkeypatch.setattr("longrun.service.watch._IDLE", 3600)
    job = await submit()
    async with remote.stream("GET", job["urls"]["events"]) as stream:
        reading = asyncio.create_task(read(stream, 2))
        await asyncio.sleep(0.3)
        await worker.claim(job["id"])
        assert types(await asyncio.wait_for(reading, 60)) == ["queued", "started"]


async def test_a_stream_is_resumed_where_it_broke_off(remote: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit({"prompt": "x"}, "story")
    claim = await worker.claim(job["id"])
    await worker.append(claim, 0, *[("output", {"value": str(n)}) for n in range(5)])
    async with remote.stream("GET", job["urls"]["events"]) as stream:
        seen = await read(stream, 4)
    await worker.append(claim, 5, *[("output", {"value": str(n)}) for n in range(5, 10)])
    await worker.store.claims.finish(job["id"], "1/n", "succeeded", b'"0123456789"')
    headers = {"Last-Event-ID": str(seen[-1]["seq"])}
    async with remote.stream("GET", f"{job['urls']['events']}?after=1", headers=headers) as stream:
        seen += await read(stream)
    assert [event["seq"] for event in seen] == list(range(1, 14))
    assert "".join(event["data"]["value"] for event in seen if event["type"] == "output") == "0123456789"


async def test_a_long_log_is_streamed_whole(remote: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit({"to": 1}, "count")
    claim = await worker.claim(job["id"])
    for first in range(0, 1600, 400):
        await worker.append(claim, first, *[("output", {"value": first + n}) for n in range(400)])
    await worker.store.claims.finish(job["id"], "1/n", "succeeded", b"[]")
    async with remote.stream("GET", f"{job['urls']['events']}?types=output") as stream:
        assert [event["data"]["value"] for event in await read(stream)] == list(range(1600))


async def test_the_stream_of_a_deleted_job_ends(
    remote: httpx.AsyncClient, caller: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    job = await submit()
    async with remote.stream("GET", f"{job['urls']['events']}?types=log") as stream:
        reading = asyncio.create_task(read(stream))
        await asyncio.sleep(0.1)
        await worker.succeed(job["id"])
        await caller.delete(job["urls"]["self"])
        assert await asyncio.wait_for(reading, 60) == []


async def test_a_submit_can_be_answered_with_the_stream(remote: httpx.AsyncClient, worker: PlayedWorker) -> None:
    body = {"input": {"prompt": "x"}}
    async with remote.stream("POST", f"{API}/models/story/jobs", json=body, headers={"Accept": "text/event-stream"}) as stream:
        assert stream.status_code == 200
        job_id = stream.headers["location"].rpartition("/")[2]
        await worker.succeed(job_id, b'"a"', ["a"])
        assert types(await read(stream)) == ["queued", "started", "output", "done"]


async def test_readers_that_leave_are_forgotten(settings: Settings, submit: Submit, worker: PlayedWorker) -> None:
    app = app_of(settings)
    async with listening(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as remote:
        job = await submit()
        for _ in range(5):
            async with remote.stream("GET", job["urls"]["events"]) as stream:
                await read(stream, 1)
        channel = worker.store.job_channel(job["id"])
        for _ in range(1200):
            _, listeners = await worker.store.connection.command("PUBSUB", "NUMSUB", channel)
            if listeners == 0:
                break
            await asyncio.sleep(0.05)
        assert listeners == 0
        async with remote.stream("GET", job["urls"]["events"]) as stream:
            reading = asyncio.create_task(read(stream, 2))
            await asyncio.sleep(0.1)
            await worker.claim(job["id"])
            assert types(await asyncio.wait_for(reading, 60)) == ["queued", "started"]


@pytest.fixture
async def short(settings: Settings) -> AsyncIterator[PlayedWorker]:
    """A worker whose events go into logs of at most ten."""
    store = Store(settings.redis_url, settings.model_copy(update={"max_events": 10}), "@ID@")
    yield PlayedWorker(store)
    await store.close()


async def test_of_a_log_that_was_trimmed_everybody_gets_one_gap(
    remote: httpx.AsyncClient, caller: httpx.AsyncClient, submit: Submit, short: PlayedWorker
) -> None:
    job = await submit({"prompt": "x"}, "story")
    claim = await short.claim(job["id"])
    await short.append(claim, 0, *[("output", {"value": str(n)}) for n in range(30)])
    page = (await caller.get(job["urls"]["events"], headers=PAGE)).json()
    assert [event["seq"] for event in page["events"]] == [1, 22, *range(23, 33)] and page["next"] == 32
    assert page["events"][1] == {"seq": 22, "attempt": 1, "at": page["events"][2]["at"], "type": "gap", "data": {"from": 2, "to": 22}}
    async with remote.stream("GET", job["urls"]["events"]) as stream:
        assert await read(stream, 12) == page["events"]
    async with remote.stream("GET", job["urls"]["events"], headers={"Last-Event-ID": "9"}) as stream:
        assert (await read(stream, 2))[0]["data"] == {"from": 10, "to": 22}
    async with remote.stream("GET", f"{job['urls']['events']}?after=22") as stream:
        assert [event["seq"] for event in await read(stream, 2)] == [23, 24]
    async with remote.stream("GET", f"{job['urls']['events']}?types=gap,done") as stream:
        reading = asyncio.create_task(read(stream))
        await short.store.claims.finish(job["id"], "1/n", "succeeded", b'"x"')
        assert types(await asyncio.wait_for(reading, 60)) == ["gap", "done"]


async def test_the_output_so_far_says_when_its_beginning_is_missing(caller: httpx.AsyncClient, submit: Submit, short: PlayedWorker) -> None:
    jobs = [await submit({"prompt": "x"}, "story") for _ in range(2)]
    for job in jobs:
        claim = await short.claim(job["id"])
        await short.append(claim, 0, *[("log", {"level": "info", "message": "x"})] * 12, ("output", {"value": "a"}))
        so_far = (await caller.get(f"{job['urls']['self']}/output")).json()
        assert (so_far["output"], so_far["truncated"]) == ("a", False)
        await short.append(claim, 13, *[("output", {"value": str(n % 10)}) for n in range(14)])
        so_far = (await caller.get(f"{job['urls']['self']}/output")).json()
        assert (so_far["output"], so_far["truncated"], so_far["complete"]) == ("4567890123", True, False)
    await short.store.claims.finish(jobs[0]["id"], "1/n", "failed", b'{"code":"model-error","detail":"x","attempt":1}')
    await short.store.claims.finish(jobs[1]["id"], "1/n", "succeeded", b'"all of it"')
    failed, succeeded = [(await caller.get(f"{job['urls']['self']}/output")).json() for job in jobs]
    assert (failed["output"], failed["truncated"]) == ("4567890123", True)
    assert (succeeded["output"], succeeded["truncated"], succeeded["complete"]) == ("all of it", False, True)


async def test_pages_of_large_events_are_short_and_say_where_to_go_on(
    caller: httpx.AsyncClient, remote: httpx.AsyncClient, submit: Submit, worker: PlayedWorker
) -> None:
    job = await submit({"prompt": "x"}, "story")
    claim = await worker.claim(job["id"])
    for number in range(0, 20, 4):
        await worker.append(claim, number, *[("output", {"value": "x" * 50_000})] * 4)
    await worker.store.claims.finish(job["id"], "1/n", "succeeded", b'"x"')
    seen, after, sizes = [], 0, []
    while after is not None:
        answer = await caller.get(f"{job['urls']['events']}?after={after}", headers=PAGE)
        seen += [event["seq"] for event in answer.json()["events"]]
        after = answer.json()["next"]
        sizes.append(len(answer.content))
    assert seen == list(range(1, 24)) and max(sizes) < 270_000
    async with remote.stream("GET", job["urls"]["events"]) as stream:
        assert [event["seq"] for event in await read(stream)] == seen


async def test_line_breaks_of_any_kind_do_not_break_a_frame(remote: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit()
    claim = await worker.claim(job["id"])
    strange = "a\nb\r\nc\u2028d\u2029e\x85f\x00"
    data = b'{"value":\r\n' + json.dumps(strange, ensure_ascii=False).encode() + b"\n}"
    await worker.store.claims.append(job["id"], claim.fence, 0, b"", [("output", data)])
    await worker.store.claims.finish(job["id"], "1/n", "succeeded", b"1")
    text = (await remote.get(job["urls"]["events"])).text
    frames = [part for part in text.removeprefix("retry: 2000\n").split("\n\n") if "data: " in part]
    assert [len(part.splitlines()) for part in frames] == [2, 2, 2, 2]
    assert json.loads(frames[2].partition("data: ")[2])["data"]["value"] == strange


async def test_readers_that_read_along_do_not_ask_the_store(remote: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit({"prompt": "x"}, "story")
    claim = await worker.claim(job["id"])

    async def commands() -> int:
        text = (await worker.store.connection.command("INFO", "commandstats")).decode()
        return int(text.partition("cmdstat_lrange:calls=")[2].partition(",")[0] or 0)

    async with remote.stream("GET", job["urls"]["events"]) as stream:
        reading = asyncio.create_task(read(stream, 52))
        await asyncio.sleep(0.3)
        before = await commands()
        for number in range(50):
            await worker.append(claim, number, ("output", {"value": str(number)}))
        events = await asyncio.wait_for(reading, 60)
        assert await commands() == before
    assert [event["seq"] for event in events] == list(range(1, 53))


async def test_a_replayed_submit_is_answered_with_the_stream_of_the_job_that_is_there(
    remote: httpx.AsyncClient, worker: PlayedWorker
) -> None:
    headers, body = {"Accept": "text/event-stream", "Idempotency-Key": "k"}, {"input": {"prompt": "x"}}
    async with remote.stream("POST", f"{API}/models/story/jobs", json=body, headers=headers) as stream:
        first = stream.headers["location"]
        await read(stream, 1)
    await worker.succeed(first.rpartition("/")[2], b'"a"', ["a"])
    async with remote.stream("POST", f"{API}/models/story/jobs", json=body, headers=headers) as stream:
        assert (stream.headers["location"], stream.headers["idempotency-replayed"]) == (first, "true")
        assert types(await read(stream)) == ["queued", "started", "output", "done"]


async def test_a_reader_ahead_of_the_log_waits_for_what_follows(remote: httpx.AsyncClient, submit: Submit, worker: PlayedWorker) -> None:
    job = await submit({"prompt": "x"}, "story")
    async with remote.stream("GET", f"{job['urls']['events']}?after=3") as stream:
        reading = asyncio.create_task(read(stream))
        await asyncio.sleep(0.1)
        await worker.succeed(job["id"], b'"ab"', ["a", "b"])
        assert [event["seq"] for event in await asyncio.wait_for(reading, 60)] == [4, 5]


async def test_head_says_what_get_would_and_ends(remote: httpx.AsyncClient, submit: Submit) -> None:
    job = await submit()
    answer = await asyncio.wait_for(remote.head(job["urls"]["events"]), 60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


async def test_a_stream_with_nothing_to_tell_shows_that_it_lives(
    remote: httpx.AsyncClient, submit: Submit, worker: PlayedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longrun.service.watch._IDLE", 0.2)
    monkeypatch.setattr("longrun.api.streams.sse._QUIET", 0.1)
    job = await submit()
    async with remote.stream("GET", f"{job['urls']['events']}?types=done") as stream:
        lines = stream.aiter_lines()
        assert [await anext(lines) for _ in range(3)] == ["retry: 2000", ":", ":"]


async def test_a_server_that_stops_ends_its_streams(settings: Settings, submit: Submit) -> None:
    job = await submit()
    async with (
        httpx.AsyncClient(timeout=60) as remote,
        contextlib.AsyncExitStack() as stack,
        asyncio.timeout(60),
        listening(app_of(settings), patience=600) as port,
    ):
        stream = await stack.enter_async_context(remote.stream("GET", f"http://127.0.0.1:{port}{job['urls']['events']}"))
        await read(stream, 1)
