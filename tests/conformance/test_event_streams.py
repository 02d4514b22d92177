"""Three parsers that callers use, and none of ours, read the event stream: all of them must be told the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sseclient
from httpx_sse import aconnect_sse
from tests.chaos.proxy import Proxy
from tests.integration.api.conftest import API, listening
from tests.integration.worker.conftest import Worker
from tests.require import require

from longrun.api.app import build_app
from longrun.api.streams.sse import frame
from longrun.embedded import EmbeddedValkey
from longrun.jobs.events import Event
from longrun.models import isolated_registry
from longrun.queues.celery.tickets import ticket_template
from longrun.service.parts import Parts
from longrun.settings import Settings
from longrun.store.store import Store

with isolated_registry() as SPEAKING:
    from tests.conformance import models_that_speak

#: What a parser gave: id and data of every event that it thought there was.
Read = list[tuple[str, str]]
Reader = Callable[[str], Awaitable[Read]]
NODE = Path(__file__).with_name("node")


async def by_httpx_sse(url: str) -> Read:
    async with httpx.AsyncClient(timeout=60) as caller, aconnect_sse(caller, "GET", url) as source:
        return [(event.id, event.data) async for event in source.aiter_sse()]


async def by_sseclient(url: str) -> Read:
    def read() -> Read:
        with httpx.stream("GET", url, timeout=60) as answer:
            return [(event.id, event.data) for event in sseclient.SSEClient(answer.iter_bytes()).events()]

    return await asyncio.to_thread(read)


async def by_splitting_lines(url: str) -> Read:
    """As a careless program reads: httpx's `iter_lines` is `str.splitlines`, which knows more line breaks than the standard."""
    found, last = [], ""
    async with httpx.AsyncClient(timeout=60) as caller, caller.stream("GET", url) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("id:"):
                last = line[3:].strip()
            elif line.startswith("data:"):
                found.append((last, line[5:].strip()))
            else:
                assert not line or line.startswith((":", "retry:")), line
    return found


async def by_eventsource(url: str) -> Read:
    return [(line["id"], line["data"]) for line in await node_lines(url) if "data" in line]


def missing_for_node() -> str | None:
    """What a program in JavaScript needs and this machine has not."""
    version = subprocess.check_output(["node", "--version"], text=True).strip() if shutil.which("node") else "none"
    if version == "none" or int(version[1:].split(".")[0]) < 20:
        return f"node 20 or newer is not here, but {version}"
    if not (NODE / "node_modules" / "eventsource").is_dir():
        return "its packages are not here: npm ci --prefix tests/conformance/node"
    return None


async def node_lines(url: str) -> list[dict[str, Any]]:
    """What the browser's EventSource tells until the server says that nothing is left."""
    require("node", missing_for_node())
    process = await asyncio.create_subprocess_exec("node", "read.js", url, cwd=NODE, stdout=asyncio.subprocess.PIPE)
    try:
        told, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0
    return [json.loads(line) for line in told.splitlines()]


PARSERS: dict[str, Reader] = {
    "httpx-sse": by_httpx_sse,
    "sseclient-py": by_sseclient,
    "eventsource": by_eventsource,
    "splitlines": by_splitting_lines,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A server with a worker that speaks."""
    folder = tmp_path_factory.mktemp("speaking")
    with EmbeddedValkey(folder / "valkey") as server:
        settings = Settings(redis_url=server.start())
        worker = Worker(settings, folder / "worker.log", app=Path(models_that_speak.__file__))
        try:
            yield settings
        finally:
            worker.stop()


@pytest.fixture
async def port(place: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Where the API listens. Heartbeats come all the time, and browsers connect again at once."""
    monkeypatch.setattr("longrun.service.watch._IDLE", 0.02)
    monkeypatch.setattr("longrun.api.streams.sse._QUIET", 0.0)
    monkeypatch.setattr("longrun.api.streams.sse.RETRY", 20)
    app = build_app(place, SPEAKING, lambda: Parts(place, Store(place.redis_url, place, ticket_template()), SPEAKING))
    async with listening(app) as port:
        yield port


async def submitted(port: int, pause: float) -> str:
    async with httpx.AsyncClient() as caller:
        answer = await caller.post(f"http://127.0.0.1:{port}{API}/models/speak/jobs", json={"input": {"pause": pause}})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["urls"]["events"])


async def pages(port: int, path: str) -> list[Any]:
    """The events of a job that has ended, as pages tell them."""
    events: list[Any] = []
    after: int | None = 0
    async with httpx.AsyncClient(timeout=60) as caller:
        while after is not None:
            answer = await caller.get(f"http://127.0.0.1:{port}{path}", params={"after": after}, headers={"Accept": "application/json"})
            page = answer.json()
            assert page["terminal"]
            events, after = events + page["events"], page["next"]
    return events


def parsed(read: Read) -> list[tuple[str, Any]]:
    return [(last, json.loads(data)) for last, data in read]


def told(events: list[Any]) -> list[tuple[str, Any]]:
    return [(str(event["seq"]), event) for event in events]


@pytest.mark.parametrize("parser", PARSERS)
async def test_every_parser_is_told_what_pages_tell_whatever_the_text(port: int, parser: str) -> None:
    if time.time() % 300 > 285:
        await asyncio.sleep(300.1 - time.time() % 300)  # URLs of files change every five minutes
    path = await submitted(port, 0.05)
    live = parsed(await PARSERS[parser](f"http://127.0.0.1:{port}{path}"))
    events = await pages(port, path)
    assert (events[-1]["type"], events[-1]["data"]["status"]) == ("done", "succeeded"), events[-1]["data"]["error"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert sum(event["type"] == "output" for event in events) == len(models_that_speak.VALUES)
    assert live == told(events)
    for after in random.Random(parser).sample(range(len(events)), 5):
        assert parsed(await PARSERS[parser](f"http://127.0.0.1:{port}{path}?after={after}")) == told(events[after:])


async def test_heartbeats_come_in_between(port: int) -> None:
    path = await submitted(port, 0.05)
    async with httpx.AsyncClient(timeout=60) as caller:
        stream = (await caller.get(f"http://127.0.0.1:{port}{path}")).text
    assert stream.count("\n:\n") > 3


async def test_what_pages_tell_is_what_the_model_said(port: int) -> None:
    path = await submitted(port, 0)
    await by_httpx_sse(f"http://127.0.0.1:{port}{path}")
    events = await pages(port, path)
    heard = [event["data"]["value"] for event in events if event["type"] == "output"]
    said = json.loads(json.dumps(models_that_speak.VALUES), parse_constant=lambda _: None)
    assert heard == models_that_speak.whole(said)
    # What is said beside the output is cut when it is long.
    begun = {text[:100].replace("\0", "\ufffd") for text in heard if isinstance(text, str)}
    beside = [event["data"]["message"] for event in events if event["type"] in ("progress", "log")]
    assert len(beside) > len(begun)
    assert {text[:100].replace("\0", "\ufffd") for text in beside if " at /output" not in text} <= begun


async def test_a_browser_goes_on_by_itself_after_a_cut_and_stops_when_nothing_is_left(port: int) -> None:
    path, dice = await submitted(port, 0.1), random.Random(7)
    with Proxy(port) as proxy:
        reading = asyncio.create_task(node_lines(f"http://127.0.0.1:{proxy.port}{path}"))
        for _ in range(10):
            await asyncio.to_thread(proxy.cut_after, dice.randint(1, 5_000))
            await asyncio.sleep(0.1)
        lines = await reading
    assert sum("error" in line for line in lines) > 2
    assert lines[-1] == {"closed": True} and lines[-2]["code"] == 204
    assert parsed([(line["id"], line["data"]) for line in lines if "data" in line]) == told(await pages(port, path))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_frame_may_arrive_in_pieces_of_any_size(size: int) -> None:
    texts = [text for text in models_that_speak.TEXTS if text == models_that_speak.whole(text)]
    events = [Event(seq, 1, 0, "output", json.dumps({"value": text}, ensure_ascii=False).encode()) for seq, text in enumerate(texts, 1)]
    stream = b"retry: 1\n" + b":\n".join(frame(event) for event in events)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    read = [(event.id, json.loads(event.data)["data"]["value"]) for event in sseclient.SSEClient(iter(pieces)).events()]
    assert read == [(str(seq), text) for seq, text in enumerate(texts, 1)]
