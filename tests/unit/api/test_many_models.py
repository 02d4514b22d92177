"""What is said of all models at once holds the event loop for a moment only, however many there are."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

import pytest
from fastapi import FastAPI
from pydantic import Field, create_model
from starlette.requests import Request
from tests.unit.growth import no_collection

from longrun import model, wire
from longrun.api.openapi import served
from longrun.api.openapi.document import build_openapi
from longrun.api.openapi.served import ServedDocument
from longrun.api.routes import ROUTES
from longrun.api.routes.models import model_view
from longrun.models import Registry, isolated_registry
from longrun.settings import Settings

T = TypeVar("T")
MANY = 100
#: Seconds of CPU that the event loop may be held.
MOST = 0.1


@pytest.fixture(scope="module")
def models() -> Iterator[Registry]:
    """Models with large schemas."""
    with isolated_registry() as registry:
        for number in range(MANY):
            inner = create_model(f"Inner{number}", **_fields(float, 40))
            outer = create_model(f"Outer{number}", **_fields(list[inner], 40))

            def predict(given: Any) -> Any:
                """Take it and give it back."""

            predict.__annotations__ = {"given": outer, "return": outer}
            model(name=f"m{number}")(predict)
        yield registry


def _fields(kind: Any, number: int) -> dict[str, Any]:
    return {f"f{each}": (kind | None, Field(None, description="A member of it, and what it is for.")) for each in range(number)}


async def held(work: Awaitable[T]) -> tuple[T, float]:
    """What comes of it, and the longest that the loop was held meanwhile, in seconds of CPU.

    As in the API's process, no collection of garbage looks at the models meanwhile.
    """
    with no_collection():
        longest, since = 0.0, time.thread_time()
        doing = asyncio.ensure_future(work)
        while not doing.done():
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, since = max(longest, now - since), now
    return await doing, longest


async def test_the_first_openapi_document_holds_the_loop_for_a_moment_and_is_what_it_is_all_at_once(models: Registry) -> None:
    text, longest = await held(ServedDocument(ROUTES, models, Settings()).text())
    assert len(text) > 10_000 * MANY
    whole = build_openapi(ROUTES, models, Settings())
    assert text == json.dumps(whole, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    assert longest < MOST


async def test_it_is_written_once_also_for_those_who_ask_meanwhile_and_for_those_who_give_up(
    models: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def steps(*arguments: Any) -> Any:
        nonlocal written
        written += 1
        return (yield from original(*arguments))

    original = served.openapi_steps
    monkeypatch.setattr(served, "openapi_steps", steps)
    document = ServedDocument(ROUTES, models, Settings())
    first, *others = [asyncio.create_task(document.text()) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    assert len(set(await asyncio.gather(*others))) == 1
    assert await document.text() is await document.text()
    assert written == 1


async def test_the_list_of_models_takes_no_time_for_their_schemas(models: Registry) -> None:
    settings = Settings()
    for _ in range(2):
        with no_collection():
            began = time.thread_time()
            text = wire.encode(wire.ModelList([model_view(spec, settings, "http://here") for spec in models]))
            assert time.thread_time() - began < MOST
    assert [each["input_schema"] for each in json.loads(text)["models"]] == [spec.input.json_schema() for spec in models]
    assert [each["output_schema"] for each in json.loads(text)["models"]] == [spec.output.json_schema() for spec in models]


@pytest.mark.parametrize("mounted", ["", "/ai"])
async def test_it_names_where_it_is_mounted_and_one_that_somebody_put_in_its_place_is_served(models: Registry, mounted: str) -> None:
    app, document = FastAPI(), ServedDocument(ROUTES, models, Settings())
    app.openapi = document.of(app)  # type: ignore[method-assign]
    request = Request({"type": "http", "app": app, "root_path": mounted})
    shown = json.loads(bytes((await document.answer(request)).body))
    servers = [{"url": mounted}] if mounted else []
    assert shown.pop("servers", []) == servers
    assert shown == app.openapi()
    app.openapi = lambda: {"openapi": "3.1.0", "servers": [{"url": "/other"}]}  # type: ignore[method-assign]
    other = json.loads(bytes((await document.answer(request)).body))
    assert other == {"openapi": "3.1.0", "servers": [*servers, {"url": "/other"}]}
