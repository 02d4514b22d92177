"""The API does what its own OpenAPI document says: Schemathesis calls every operation with generated requests."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks
from tests.integration.api.conftest import PlayedWorker, app_of, calling, listening
from tests.integration.api.served import served as models
from tests.integration.api.trees import ask, child

from longrun.api.openapi.document import build_openapi
from longrun.api.routes import ROUTES
from longrun.clock import item_id
from longrun.embedded import EmbeddedValkey
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store

CHECKS = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
)


@schemathesis.serializer("application/jsonl")
def _lines(_: object, value: Any) -> bytes:
    """What a schema can say of JSON lines is that they are text; whatever else is tried is sent as one line."""
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "surrogatepass")


@pytest.fixture
def document(request: pytest.FixtureRequest) -> Any:
    request.node._nodeid = request.node.nodeid  # Schemathesis expects it to be there, as it was in earlier versions of pytest
    return schemathesis.openapi.from_dict(build_openapi(ROUTES, models(), Settings()))


#: What is tried is made where this test runs, not in every process that collects the tests: it takes seconds.
schema = schemathesis.pytest.from_fixture("document")


async def _serve(url: str, ports: list[int], started: threading.Event, stop: asyncio.Event) -> None:
    service = Settings(redis_url=url)
    async with listening(app_of(service)) as port:
        ports.append(port)
        started.set()
        await stop.wait()


async def _leave_some_jobs(url: str) -> tuple[list[str], list[str]]:
    """Jobs in several states, and batches, for the operations that need one."""
    store = Store(url, Settings(redis_url=url), ticket_template())
    worker = PlayedWorker(store)
    found = []
    async with calling(app_of(Settings(redis_url=url))) as caller:
        for end in (worker.succeed, worker.fail, worker.claim):
            job = (await caller.post("/api/v1/models/echo/jobs", json={"input": {"value": 1}})).json()
            await end(job["id"])
            found.append(job["id"])
        await ask(store, found[-1], "approve", schema={"type": "boolean"})
        found.insert(0, await child(store, found[-1], "n:a"))
        batches = [(await caller.post("/api/v1/models/echo/batches", json=[{"value": 1}])).json()["id"] for _ in range(2)]
        await worker.succeed(item_id(batches[0], 0))
    await store.close()
    return found, batches


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str], list[str]]]:
    """URL of a running service, and ids of jobs and batches in it."""
    with EmbeddedValkey(Path(tmp_path_factory.mktemp("valkey"))) as server:
        url = server.start()
        jobs, batches = asyncio.run(_leave_some_jobs(url))
        ports: list[int] = []
        started, stop = threading.Event(), asyncio.Event()
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(url, ports, started, stop)))
        thread.start()
        assert started.wait(10)
        yield f"http://127.0.0.1:{ports[0]}", jobs, batches
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@schema.parametrize()
@settings(max_examples=15, deadline=None, database=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
def test_every_operation_answers_as_documented(case: schemathesis.Case, served: tuple[str, list[str], list[str]]) -> None:
    case.call_and_validate(base_url=served[0], checks=list(CHECKS), timeout=60)
    if "name" in case.path_parameters:
        case.path_parameters["name"] = "approve"
    if "job_id" in case.path_parameters:
        for job_id in served[1]:
            # The events of a job that runs for ever are a stream without end.
            if job_id == served[1][-1] and case.path.endswith("/events"):
                continue
            case.path_parameters["job_id"] = job_id
            case.call_and_validate(base_url=served[0], checks=list(CHECKS), timeout=60)
    if "batch_id" in case.path_parameters:
        for batch_id in served[2]:
            case.path_parameters["batch_id"] = batch_id
            case.call_and_validate(base_url=served[0], checks=list(CHECKS), timeout=60)
