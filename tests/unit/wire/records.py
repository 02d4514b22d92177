"""Records of every kind that answers are made of, and with every member that may be there or not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from longrun import wire
from longrun.jobs.events import Event
from longrun.jobs.failure import JobFailure
from longrun.jobs.file_refs import FileRef
from longrun.jobs.policy import Policy
from longrun.jobs.record import FIELDS, TREE_FIELDS, AttemptRecord, JobRecord
from longrun.jobs.states import Status
from longrun.service.overview import Overview
from longrun.store.batches import BatchRecord
from longrun.store.file_records import FileRecord
from longrun.store.records import LaneDepth
from longrun.store.trees import Node
from longrun.store.webhooks import Delivery, Endpoint, Try

BASE = "https://example.org/ai/api/v1"
JOB_ID, BATCH_ID, FILE_ID = f"job_{'0a' * 16}", f"batch_{'0b' * 16}", f"file_{'0c' * 16}"
#: What is told apart only by its bytes: large and small floats, integers up to the largest, escapes, and characters of every length.
HARD = orjson.dumps({'a"\\/\n\u2028': [1e22, 1e16, 5e-324, 0.1, -0.0, 1.0, 2**64 - 1, -(2**63)], "é€😀\u007f": "\u0001\u001f\t", "": None})
FAILURE = JobFailure(
    "timeout", 'It took "long".\n', 3, "TimeoutError", "Traceback: é\u2028", "SIGKILL", 137, 1 << 33, "a hint", "kill", 12.5, 0.001
).to_json()


STEP_FAILED = b'{"code":"step-failed","detail":"The step draw failed.","attempt":2,"step":"n:draw","job_id":"job_1","step_code":"timeout"}'
ASK = wire.Ask.of("approve", HARD, b'{"type":"boolean"}', 1_700_000_000_123, f"{BASE}/jobs/{JOB_ID}/signals/approve?expires=1&sig=a")


def job(**given: Any) -> JobRecord:
    """A job with these stored fields."""
    stored: dict[str, Any] = {
        "tenant": "t", "model": "captioner", "queue": "gpu", "status": "queued", "version": 1, "priority": 5, "attempt": 0,
        "created": 1_700_000_000_123,
    }  # fmt: skip
    stored |= given
    values = [
        value if value is None or isinstance(value, bytes) else str(value).encode() for value in map(stored.get, FIELDS + TREE_FIELDS)
    ]
    return JobRecord.from_fields(JOB_ID, values, given.get("position"))


def full_job(**given: Any) -> JobRecord:
    """A job that has every member."""
    policy = Policy(4, 0.5, 300.0, 60, 55.5, 3600.0, 1e3, 12.0, "at_most_once", 2)
    members = {
        "status": "succeeded", "version": 17, "attempt": 2, "queued": 1_700_000_000_123, "started": 1_700_000_001_000,
        "finished": 1_700_000_010_007, "expires": 1_700_086_410_007, "errors": 1, "output": HARD, "metadata": HARD,
        "tags": b'["x","\xc3\xa9"]',
        "progress": b'{"fraction":0.30000000000000004,"step":"decoding","message":null}', "progress_at": 1_700_000_009_000,
        "usage": b'{"tokens":120,"cost_usd":0.002,"flops":1e+22,"run_s":9.007}', "policy": policy.to_json(), "retry_of": "job_1",
        "retried_by": "job_2", "hook": b'{"url":"https://a.example/x?y=1","events":["job.succeeded"],"secret":"whsec_x"}',
        "batch": BATCH_ID, "batch_index": 7, "partial": b"1", "parent": f"job_{'0d' * 16}", "root": f"job_{'0e' * 16}", "step": "n:draw",
    }  # fmt: skip
    return job(**members | given)


def file_ref(**given: Any) -> FileRef:
    """A stored file."""
    facts = {"format": "png", "width": 10, "height": 20, "frames": 1}
    return replace(FileRef(FILE_ID, "key", 12_345, "sha-256=abc=", "image/png", 'a "b".png', facts), **given)


JOBS: dict[str, tuple[JobRecord, dict[str, Any]]] = {
    "job-queued": (job(position=3), {}),
    "job-succeeded": (full_job(), {}),
    "job-listed": (full_job(), {"with_output": False}),
    "job-failed": (full_job(status="failed", output=None, error=FAILURE, partial=None), {}),
    "job-failed-for-the-operator": (full_job(status="failed", output=None, error=FAILURE), {"debug": True}),
    "job-of-a-code-nobody-knows": (job(status="failed", error=b'{"code":"new"}'), {}),
    "job-retrying": (job(status="retrying", due=1_700_000_099_999, errors=1, policy=Policy(4).to_json(), error=FAILURE), {}),
    "job-that-asks": (job(status="waiting", asks="approve"), {"asks": [ASK]}),
    "job-failed-by-a-step": (job(status="failed", error=STEP_FAILED), {}),
    "job-running": (job(status="running", started=1_700_000_000_000, progress=b'{"fraction":1}', usage=b'{"queue_s":7}'), {}),
    "job-with-a-large-output": (
        replace(job(status="succeeded"), output_ref=file_ref(), output_url=f"{BASE}/files/{FILE_ID}/content?sig=1&b=2"), {},
    ),
    "job-with-an-output-without-a-name": (replace(job(status="succeeded"), output_ref=file_ref(name=""), output_url="u"), {}),
}  # fmt: skip

_CHILD = Node(
    "child",
    "n:draw",
    "p",
    1_700_000_000_123,
    id=f"job_{'0d' * 16}",
    model="draw",
    status=Status.FAILED,
    created=1_700_000_000_124,
    started=1_700_000_000_200,
    finished=1_700_000_001_200,
    attempt=2,
    usage=b'{"run_s":1.5}',
    error=FAILURE,
    kids=3,
    unused=True,
    done=True,
)
STEPS = {
    "step-child": _CHILD,
    "step-child-that-is-queued": replace(_CHILD, status=Status.QUEUED, started=None, finished=None, attempt=0, usage=None, error=None),
    "step-done": Node("step", "l:list", "p", 1_700_000_000_123, done=True),
    "step-failed": Node("step", "l:list", "p", 1_700_000_000_123, done=True, error=b'{"code":"model-error","detail":"no"}'),
    "step-begun": Node("step", "l:pay", "p", 1_700_000_000_123),
    "step-sleep": Node("sleep", "z:60:1", "p", 1_700_000_000_123, until=1_700_000_060_123),
    "step-wait": Node("wait", "s:approve", "p", 1_700_000_000_123, name="approve", until=1_700_000_060_123),
    "step-wait-answered": Node("wait", "s:approve", "p", 1, name="approve", until=2, done=True, answered=True),
    "step-wait-over": Node("wait", "s:approve", "p", 1, name="approve", until=2, done=True),
}

_BEGUN = b'{"worker":"w1@h","device":"cuda:0","at":1700000001000,"queued":1700000000400}'
ATTEMPTS = {
    "attempt-running": AttemptRecord.from_fields(1, b'{"worker":"w","device":"","at":1700000001000}', None),
    "attempt-succeeded": AttemptRecord.from_fields(2, _BEGUN, b"1700000002500 succeeded ", b'{"run_s":1.25,"wait_s":0.125,"flops":1e+17}'),
    "attempt-failed": AttemptRecord.from_fields(3, _BEGUN, b"1700000002500 failed " + FAILURE),
}

EVENTS = {
    "event-output": Event(7, 2, 1_700_000_000_123, "output", b'{"value":"a \xc3\xa9 b"}'),
    "event-step-output": Event(8, 2, 1_700_000_000_123, "step_output", b'{"step":"n:think","value":"a"}'),
    "event-queued": Event(1, 0, 1_700_000_000_000, "queued", b"{}"),
}

_BATCH = BatchRecord(BATCH_ID, "t", "captioner", 5, "open", 3000, 100, 2990, 1_700_000_000_123, 8, 1, 0, 1)
BATCHES = {
    "batch-accepting": _BATCH,
    "batch-running": replace(_BATCH, fed=3000),
    "batch-canceling": replace(_BATCH, canceling=1_700_000_000_999),
    "batch-completed": replace(
        _BATCH, status="completed", fed=3000, left=0, succeeded=2998, finished=1_700_000_900_000, expires=1_700_086_900_000, tags=b'["x"]',
        metadata=HARD, policy=Policy(4).to_json(), hook=b'{"url":"https://a.example","events":["batch.completed"],"secret":"s"}',
    ),
}  # fmt: skip

FILES = {
    "file-image": FileRecord(file_ref(), "t", 1_700_000_000_123, 1_700_086_400_123),
    "file-unknown": FileRecord(file_ref(facts={}, name=""), "t", 1_700_000_000_123, None),
}

ENDPOINTS = {
    "endpoint": Endpoint("we_1", "https://a.example", ["job.failed", "batch.completed"], "é", 1_700_000_000_123, "whsec_1", None, None),
    "endpoint-disabled": Endpoint("we_2", "https://b.example", [], "", 1_700_000_000_123, "whsec_2", 1, "It was disabled by request."),
}
DELIVERIES = {
    "delivery-pending": Delivery(
        "msg_1", "job.failed", JOB_ID, "we_1", "https://a.example", "pending", 1_700_000_000_123, 1_700_000_005_000, None, None,
        [Try(1_700_000_000_200, 500, "HTTP 500", 0.12), Try(1_700_000_001_200, None, "no answer", 15.0)],
    ),
    "delivery-of-a-batch": Delivery(
        "msg_2", "batch.completed", BATCH_ID, None, "u", "failed", 1_700_000_000_123, None, 1_700_000_090_000, "given up", []
    ),
    "delivery-test": Delivery(
        "msg_3", "webhook.test", None, "we_1", "u", "delivered", 1_700_000_000_123, None, 1_700_000_000_400, None, []
    ),
}  # fmt: skip

_HISTOGRAM = {"count": 4, "sum": 10, "buckets": [[1, 2], [2.5, 4]]}
OVERVIEW = Overview(
    [LaneDepth("gpu", "captioner", {0: 1, 5: 2, 9: 0}, 1.5), LaneDepth("gpu", "echo", {5: 0}, None), LaneDepth("x", "gone", {9: 4}, 7)],
    [
        {
            "name": "w1", "jobs": ["job_1"], "rate": 1e18,
            "models": {"captioner": {"queue": "gpu", "running": 2, "batches": {"size": _HISTOGRAM, "wait_s": {"count": 0, "sum": 0}}}},
        },
        {"name": "w2", "models": {"echo": {"queue": "x", "batches": {"size": _HISTOGRAM, "wait_s": {"count": 4, "sum": 0.1}}}}},
    ],
    {"captioner": {"succeeded": 3, "run_ms": 1234}, "echo": {"failed": 1, "run_ms": 3}, "old": {}},
    2,
    {},
    {"captioner": {"queue": 2_500_000, "wait": 10_000, "run": 1_234_567, "store": 2_000}},
)  # fmt: skip
