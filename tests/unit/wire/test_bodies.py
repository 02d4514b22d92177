"""The answers are, byte for byte, what they were when `bodies.txt` was recorded: `name JSON` in each line.

Where a body is to change, with the contract (docs/http.md), `python -m tests.unit.wire.test_bodies` records it anew: read the difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import orjson
import pytest
from msgspec import Raw
from tests.integration.api.served import served
from tests.unit.wire import records as r

from longrun import wire
from longrun.api.problems import document, job_problem_response
from longrun.api.routes.models import model_view
from longrun.clock import item_id
from longrun.errors import JobNotFound, Problem, SubmitUnconfirmed, ValidationFailed
from longrun.service import overview
from longrun.service.batch_view import batch_view
from longrun.service.files import file_view
from longrun.service.tree import step_view
from longrun.service.watch import done_data, retrying_data, waiting_data
from longrun.service.webhooks import batch_message, delivery_view, endpoint_view, message
from longrun.settings import Settings
from longrun.store.webhooks import Due

BODIES = Path(__file__).with_name("bodies.txt")
RECORDED = {name.decode(): body for name, body in (line.split(b" ", 1) for line in BODIES.read_bytes().splitlines())}
INSTANCE = wire.JobUrls.of(r.JOB_ID, r.BASE).self
SCOPE = {"type": "http", "path": "/api/v1/jobs/é x", "state": {"request_id": "req_1"}}


class Urls:
    async def url(self, tenant: str, file_id: str, base: str) -> str:
        return f"{base}/files/{file_id}/content?sig=1"


def caller(*, debug: bool = False) -> Any:
    return SimpleNamespace(urls=Urls(), models=served(), settings=Settings(), base=r.BASE, debug=debug)


def due(kind: str, data: Any = None) -> Due:
    return Due(**{each.name: None for each in fields(Due)} | {"type": kind, "created": 1_700_000_000_777, "data": data})  # type: ignore[arg-type]


def result(index: int, status: str, **more: Any) -> wire.BatchResult:
    return wire.BatchResult(index, item_id(r.BATCH_ID, index), status, **more)


def structs() -> dict[str, wire.Answer]:
    error = wire.JobProblem.of(r.FAILURE, INSTANCE)
    shown: dict[str, wire.Answer] = {name: wire.Job.of(job, r.BASE, **options) for name, (job, options) in r.JOBS.items()}
    shown |= {name: wire.Attempt.of(each, INSTANCE) for name, each in r.ATTEMPTS.items()}
    shown |= {name: step_view(caller(), r.job(status="waiting"), each) for name, each in r.STEPS.items()}
    tree = r.full_job(tree_usage=b'{"cost_usd":0.5,"tokens":1}')
    shown |= {"tree": wire.Tree.of(tree, [step_view(caller(), tree, r.STEPS["step-wait"])]), "tree-of-nothing": wire.Tree.of(r.job(), [])}
    asked = wire.Ask.of("approve", b'"why?"', b"true", 1_700_000_000_123)
    shown |= {"signal": wire.Signal("approve", r.JOB_ID, True, asked), "signal-given": wire.Signal("approve", r.JOB_ID, False, None)}
    shown |= {name: wire.event_view(each) for name, each in r.EVENTS.items()}
    shown |= {name: batch_view(each, r.BASE) for name, each in r.BATCHES.items()}
    shown |= {name: endpoint_view(each) for name, each in r.ENDPOINTS.items()}
    shown |= {name: asyncio.run(file_view(caller(), each)) for name, each in r.FILES.items()}
    shown |= {name: delivery_view(each) for name, each in r.DELIVERIES.items()}
    shown |= {f"model-{spec.name}": model_view(spec, Settings(), r.BASE) for spec in served()}
    shown |= {f"scale-{queue}": overview.scale(caller(), r.OVERVIEW, queue) for queue in ("gpu", "x")}
    return shown | {
        "endpoint-with-its-secret": endpoint_view(r.ENDPOINTS["endpoint"], secret=True),
        "queues": overview.queues(caller(), r.OVERVIEW),
        "stats": overview.stats(caller(), r.OVERVIEW),
        "workers": overview.workers(r.OVERVIEW, jobs=True),
        "workers-without-jobs": overview.workers(r.OVERVIEW, jobs=False),
        "result-succeeded": result(0, "succeeded", output=Raw(r.HARD)),
        "result-partial": result(1, "succeeded", output=Raw(b"1e+22"), partial=True),
        "result-failed": result(2, "failed", error=error),
        "result-pending": result(2999, "pending"),
    }


def problem(error: Problem) -> bytes:
    return wire.encode(document(error, SCOPE))


def texts() -> dict[str, Callable[[], bytes]]:
    done, failed = r.full_job(), r.JOBS["job-failed"][0]
    then = {"status": "retrying", "attempt": 2, "next_attempt_at": 1_700_000_001_000, "error": orjson.loads(r.FAILURE)}
    large = replace(done, output=b'"' + b"x" * 30_000 + b'"')
    return {
        "done-data": lambda: done_data(done, r.BASE),
        "retrying-data": lambda: retrying_data(b'{"reason":%b,"next_attempt_at":1700000000999}' % r.FAILURE, "/x"),
        "waiting-data": lambda: waiting_data(b'{"for":["approve"],"until":1700000000999}'),
        "waiting-data-without-an-end": lambda: waiting_data(b'{"for":["steps"],"until":null}'),
        "webhook-test": lambda: message(due("webhook.test"), None, r.BASE),
        "webhook-succeeded": lambda: message(due("job.succeeded"), done, r.BASE),
        "webhook-too-large": lambda: message(due("job.succeeded"), large, r.BASE),
        "webhook-failed": lambda: message(due("job.failed"), failed, r.BASE),
        "webhook-retrying": lambda: message(due("job.retrying", orjson.dumps(then)), done, r.BASE),
        "webhook-started": lambda: message(due("job.started", b'{"status":"running","attempt":1}'), r.job(), r.BASE),
        "webhook-of-a-batch": lambda: batch_message(due("batch.completed"), r.BATCHES["batch-completed"], r.BASE),
        "problem": lambda: problem(JobNotFound("There is no job x.")),
        "problem-with-errors": lambda: problem(ValidationFailed("The é.", errors=[{"pointer": "/a~1b", "detail": "no"}])),
        "problem-with-more": lambda: problem(SubmitUnconfirmed("", job_id="job_1", limit=7, retry_after=3)),
        "job-unsuccessful": lambda: bytes(job_problem_response(caller(), failed, SCOPE).body),
        "job-unsuccessful-for-the-operator": lambda: bytes(job_problem_response(caller(debug=True), failed, SCOPE).body),
        "job-canceled-without-an-error": lambda: bytes(job_problem_response(caller(), r.job(status="canceled", attempt=2), SCOPE).body),
    }


STRUCTS, TEXTS = structs(), texts()


@pytest.mark.parametrize("name", STRUCTS)
def test_an_answer_has_the_bytes_that_were_recorded(name: str) -> None:
    assert wire.encode(STRUCTS[name]) == RECORDED[name]


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_made_of_answers_has_the_bytes_that_were_recorded(name: str) -> None:
    assert TEXTS[name]() == RECORDED[name]


def test_everything_that_was_recorded_is_compared() -> None:
    assert RECORDED.keys() == STRUCTS.keys() | TEXTS.keys()


@pytest.mark.parametrize("name", STRUCTS)
def test_what_was_recorded_fits_the_types_that_the_schema_is_made_of(name: str) -> None:
    """Values are not checked when an answer is made: this is where a wrong one is seen."""
    read: wire.Answer = msgspec.json.decode(RECORDED[name], type=type(STRUCTS[name]))
    assert orjson.loads(wire.encode(read)) == orjson.loads(RECORDED[name])


if __name__ == "__main__":
    _bodies = {name: wire.encode(each) for name, each in STRUCTS.items()} | {name: text() for name, text in TEXTS.items()}
    BODIES.write_bytes(b"".join(b"%b %b\n" % (name.encode(), body) for name, body in _bodies.items()))
