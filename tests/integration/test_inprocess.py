"""`longrun.submit` and `longrun.create_app` inside another application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from tests.waiting import PATIENCE

import longrun
from longrun import File, Model, model
from longrun.errors import JobUnsuccessful, StoreUnsafe, UnknownModel, ValidationFailed
from longrun.models import isolated_registry
from longrun.settings import Settings
from longrun.store.formats import FORMAT
from longrun.store.store import Store


class Ask(BaseModel):
    text: str
    times: int = 1


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> Iterator[dict[str, object]]:
    """Two models, and an environment that names the test's store."""
    monkeypatch.setenv("LONGRUN_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("LONGRUN_PREFIX", settings.prefix)
    monkeypatch.setenv("LONGRUN_BLOBS", f"file://{tmp_path}/blobs")
    with isolated_registry():

        class Echo(Model):
            def predict(self, ask: Ask) -> str:
                return ask.text * ask.times

        @model(queue="gpu")
        def double(x: int) -> int:
            return 2 * x

        @model
        def look(file: File, more: File | None = None) -> int:
            return file.size or 0

        yield {"echo": Echo, "double": double}


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    yield
    await longrun.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application looks often who is there."""
    monkeypatch.setenv("LONGRUN_HEARTBEAT", "0.1")


async def roles(store: Store) -> list[str]:
    processes, _ = await store.presence.read(timeout=30)
    return [process["role"] for process in processes]


async def until_roles(store: Store, wanted: list[str]) -> None:
    async with asyncio.timeout(PATIENCE):
        while await roles(store) != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("quick", "models")
async def test_an_application_that_submits_announces_itself_and_accepts_nothing_for_data_it_does_not_know(store: Store) -> None:
    await longrun.submit("echo", text="x")
    await until_roles(store, ["app"])
    await store.connection.command("HSET", f"{store.prefix}about", "format", str(FORMAT + 1))
    await until_roles(store, [])
    with pytest.raises(StoreUnsafe):
        await longrun.submit("echo", text="y")


@pytest.mark.usefixtures("quick")
async def test_a_mounted_application_announces_itself_and_leaves_data_that_it_does_not_know(
    models: dict[str, object], store: Store
) -> None:
    app = longrun.create_app(models=list(models.values()))
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as caller:
        await until_roles(store, ["api"])
        waits = {"input": {"x": 1}, "delay": 1.0}
        job = (await caller.post("/api/v1/models/double/jobs", json=waits)).json()
        await store.connection.command("HSET", f"{store.prefix}about", "format", str(FORMAT + 1))
        await until_roles(store, [])
        refused = await caller.post("/api/v1/models/double/jobs", json=waits)
        assert (refused.status_code, refused.json()["code"]) == (503, "store-unsafe")
        await asyncio.sleep(1.5)  # chores would have queued the job
        assert (await caller.get(job["urls"]["self"])).json()["status"] == "scheduled"


async def work(store: Store, job_id: str, outcome: str, data: bytes) -> None:
    claim = await store.claims.claim(job_id, "n", "w", "cpu")
    assert claim is not None
    assert await store.claims.finish(job_id, claim.fence, outcome, data) == outcome  # type: ignore[arg-type]


async def test_a_submitted_job_gives_its_result(models: dict[str, object], store: Store) -> None:
    job = await longrun.submit(models["double"], x=21)
    view = await job.view()
    assert (view["model"], view["queue"], view["status"], view["position"]) == ("double", "gpu", "queued", 1)
    waiting = asyncio.create_task(job.result(timeout=60))
    await work(store, job.id, "succeeded", b"42")
    assert await waiting == 42


async def test_the_input_may_be_a_model_instance_a_dict_or_keywords(models: dict[str, object], store: Store) -> None:
    ids = [
        (await longrun.submit(models["echo"], Ask(text="a", times=2))).id,
        (await longrun.submit("echo", {"text": "a", "times": 2}, priority=9, tags=["t"])).id,
        (await longrun.submit(models["echo"], text="a", times=2)).id,
    ]
    inputs = [claim.input for job_id in ids if (claim := await store.claims.claim(job_id, "n", "w", "cpu"))]
    assert [sorted(data) for data in inputs] == [sorted(b'{"text":"a","times":2}')] * 3


async def test_the_same_key_is_the_same_job(models: dict[str, object]) -> None:
    first, second = [await longrun.submit("double", x=1, idempotency_key="k") for _ in range(2)]
    assert first.id == second.id


async def test_wrong_input_is_refused_before_anything_is_stored(models: dict[str, object], store: Store) -> None:
    with pytest.raises(ValidationFailed):
        await longrun.submit("double", x="many")
    with pytest.raises(UnknownModel):
        await longrun.submit("treble", x=1)
    assert (await store.records.list("default", cursor=None, look_at=10, since=0, filters=[])).jobs == []


@pytest.mark.parametrize(
    ("name", "wrong", "error"),
    [
        ("look", {"more": Path("/nowhere/a.png")}, FileNotFoundError),
        ("look", {"priority": 99}, ValidationFailed),
        ("treble", {}, UnknownModel),
    ],
)
async def test_a_submit_that_is_refused_leaves_no_file(  # noqa: PLR0917
    models: dict[str, object], store: Store, tmp_path: Path, name: str, wrong: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await longrun.submit(name, {"file": b"bytes"}, **wrong)
    kept = {path.name for path in (tmp_path / "blobs").rglob("file_*")}
    assert kept == set(await store.files.trash())


async def test_a_failed_job_raises_with_its_code_and_one_that_takes_long_times_out(models: dict[str, object], store: Store) -> None:
    job = await longrun.submit("double", x=1)
    with pytest.raises(TimeoutError):
        await job.result(timeout=0.05)
    await work(store, job.id, "failed", b'{"code":"model-error","detail":"It broke.","attempt":1}')
    with pytest.raises(JobUnsuccessful, match="model-error: It broke") as caught:
        await job.result()
    assert (caught.value.extra["code"], caught.value.extra["job_id"]) == ("model-error", job.id)


async def test_a_job_can_be_canceled(models: dict[str, object]) -> None:
    job = await longrun.submit("double", x=1)
    assert await job.cancel() == "canceled"


async def test_the_api_is_mounted_beside_a_route_that_submits(models: dict[str, object]) -> None:
    host = FastAPI()
    mounted = longrun.create_app(models=[models["double"]])
    host.mount("/ai", mounted)

    @host.post("/order")
    async def order() -> dict[str, str]:
        return {"job": (await longrun.submit(models["double"], x=3)).id}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=host), base_url="http://localhost") as client:
        job_id = (await client.post("/order")).json()["job"]
        answer = await client.get(f"/ai/api/v1/jobs/{job_id}")
        assert answer.status_code == 200
        assert answer.json()["urls"]["self"] == f"/ai/api/v1/jobs/{job_id}"
        assert (await client.post("/ai/api/v1/models/echo/jobs", json={"input": {"text": "a"}})).status_code == 404
    await mounted.state.longrun.close()
