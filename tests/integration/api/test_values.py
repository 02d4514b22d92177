"""No value makes a GET answer 500."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from tests.integration.api.conftest import API, BASE, PlayedWorker, app_of
from tests.integration.api.served import served

from longrun.embedded import EmbeddedValkey
from longrun.errors import InvalidOutput
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store

ODD = st.sampled_from(
    ["\x00", "\ud800", "\udfff\ud800", "\u2028", "\x7f\x1b[31m", "<script>", "é" * 50, "😀", "\\u0000", '"', "\n", ",", "\x85"]
)
TEXT = ODD | st.text(max_size=20)
NUMBERS = st.integers() | st.integers(-(10**60), 10**60) | st.floats() | st.sampled_from([1e308, -0.0, 2**63, 2**64, -(2**63) - 1, 10**400])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def body_of(value: Any, tag: str, key: str) -> bytes:
    """A submit as a careless caller would write it."""
    return json.dumps({"input": {"value": value}, "tags": [tag], "metadata": {key: value}}).encode("utf-8", "surrogatepass")


async def check(caller: httpx.AsyncClient, job_id: str) -> None:
    for tail in ("", "/result", "/output", "/attempts", "/events"):
        answer = await caller.get(f"{API}/jobs/{job_id}{tail}", headers={"Accept": "application/json"})
        assert answer.status_code in (200, 202, 424), (tail, answer.text)
        answer.json()


async def exchange(app: Any, store: Store, value: Any, tag: str, key: str) -> None:
    """Send the value in, have a worker give it back as output and as events, and read all of it."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE, headers={"Content-Type": "application/json"}) as caller:
        answer = await caller.post(f"{API}/models/echo/jobs", content=body_of(value, tag, key))
        assert answer.status_code in (202, 400, 422), answer.text
        if answer.status_code != 202:
            answer = await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": 1}})
        job_id = answer.json()["id"]
        await check(caller, job_id)
        worker = PlayedWorker(store)
        claim = await worker.claim(job_id)
        try:
            output = served().get("echo").output.encode(value).data
        except InvalidOutput as error:
            failure = orjson.dumps({"code": error.code, "detail": error.detail, "attempt": 1})
            await store.claims.finish(job_id, "1/n", "failed", failure)
        else:
            await store.claims.append(job_id, claim.fence, 0, b"", [("output", b'{"value":%b}' % output)])
            await check(caller, job_id)
            await store.claims.finish(job_id, "1/n", "succeeded", output)
        await check(caller, job_id)
        for path in ("jobs", "dead-letters", "stats", "queues"):
            assert (
                await caller.get(f"{API}/{path}", params={"tag": tag.encode("utf-8", "replace").decode(), "model": "echo"})
            ).status_code == 200


def test_no_value_makes_a_get_answer_500(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server, asyncio.Runner() as runner:
        settings = Settings(redis_url=server.start())
        app = app_of(settings)
        store = Store(settings.redis_url, settings, ticket_template())

        @effort(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(VALUES, TEXT, TEXT)
        def attempt(value: Any, tag: str, key: str) -> None:
            runner.run(exchange(app, store, value, tag, key))

        attempt()
        runner.run(store.close())
        runner.run(app.state.longrun.close())


PATHS = st.sampled_from(
    [
        "jobs/{}",
        "jobs/{}/events",
        "jobs/{}/result",
        "jobs?cursor={}",
        "jobs?tag={}",
        "jobs?model={}",
        "jobs?created_after={}",
        "models/{}",
        "scale/{}",
    ]
)


def test_no_path_or_query_makes_a_get_answer_500(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server, asyncio.Runner() as runner:
        app = app_of(Settings(redis_url=server.start()))

        async def get(path: str) -> int:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as caller:
                return (await caller.get(f"{API}/{path}")).status_code

        @effort(max_examples=150, deadline=None, database=None)
        @given(PATHS, st.binary(max_size=30) | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")))
        def attempt(path: str, value: bytes) -> None:
            assert runner.run(get(path.format(quote(value, safe="")))) < 500

        attempt()
        runner.run(app.state.longrun.close())
