"""The same service as the field writes it by hand: FastAPI, Celery, results in Redis. What it is compared with, nothing to copy.

The settings are the careful ones: late acknowledgement, one message at a time, lost workers' jobs rejected back into the queue, and a
visibility timeout that is short enough to see (STOCK_VISIBILITY seconds; the default of an hour would be kinder to nobody here).
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from typing import Annotated, Any

from celery import Celery, Task
from celery.result import AsyncResult
from fastapi import FastAPI, Header, HTTPException
from kombu.exceptions import OperationalError
from pydantic import BaseModel
from redis import Redis
from redis.exceptions import RedisError

URL = os.environ["STOCK_URL"]
VISIBILITY = int(os.environ.get("STOCK_VISIBILITY", "10"))

celery = Celery("stock", broker=URL.replace("unix://", "redis+socket://"), backend=URL.replace("unix://", "redis+socket://"))
celery.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_track_started=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Restored as soon as it can be: kombu looks every tenth time otherwise, which makes it minutes.
    broker_transport_options={"visibility_timeout": VISIBILITY, "unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    result_backend_transport_options={"visibility_timeout": VISIBILITY},
)


def note(what: str, task: Task) -> None:
    """As in `models_for_chaos.py`."""
    log = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(log, f"{what} {task.request.id} 1 {os.getpid()}\n".encode())
    finally:
        os.close(log)


def work(task: Task, text: str, seconds: float) -> dict[str, Any]:
    """What every model here does."""
    note("begin", task)
    time.sleep(seconds)
    note("end", task)
    return {"digest": hashlib.sha256(text.encode()).hexdigest(), "attempt": 1}


@celery.task(bind=True, name="nap")
def nap(self: Task, text: str, seconds: float) -> dict[str, Any]:
    """Sleep."""
    return work(self, text, seconds)


@celery.task(bind=True, name="grind")
def grind(self: Task, text: str, seconds: float) -> dict[str, Any]:
    """Sleep: Celery has no other way to run beside others than more processes."""
    return work(self, text, seconds)


@celery.task(bind=True, name="weigh")
def weigh(self: Task, text: str, seconds: float) -> dict[str, Any]:
    """Sleep: Celery has no batches."""
    return work(self, text, seconds)


@celery.task(bind=True, name="spell")
def spell(self: Task, text: str, seconds: float) -> str:
    """Sleep: Celery has no streams."""
    work(self, text, seconds)
    return text


class Input(BaseModel):
    """Of every model."""

    text: str
    seconds: float


class Submit(BaseModel):
    """The body of a submit."""

    input: Input


STATES = {
    "PENDING": "queued",
    "STARTED": "running",
    "RETRY": "retrying",
    "SUCCESS": "succeeded",
    "FAILURE": "failed",
    "REVOKED": "canceled",
}
VERSIONS = {"queued": 1, "running": 2, "retrying": 3}
app = FastAPI()
redis = Redis.from_url(URL, socket_timeout=5)


@app.get("/readyz")
def ready() -> dict[str, bool]:
    """Whether it answers."""
    return {"ready": True}


@app.post("/api/v1/models/{model}/jobs", status_code=202)
def submit(model: str, body: Submit, idempotency_key: Annotated[str, Header()]) -> dict[str, Any]:
    """Queue a task; a key that was used before names its task."""
    policy = {"delivery": "at_least_once"}
    try:
        if known := redis.get(f"idem:{idempotency_key}"):
            return {"id": known.decode(), "policy": policy}  # type: ignore[union-attr]
        task_id = str(uuid.uuid5(uuid.NAMESPACE_OID, idempotency_key))
        celery.tasks[model].apply_async((body.input.text, body.input.seconds), task_id=task_id, retry=False)
        redis.set(f"idem:{idempotency_key}", task_id, ex=86400)
    except (OperationalError, RedisError) as error:
        raise HTTPException(503, "try again") from error
    return {"id": task_id, "policy": policy}


@app.get("/api/v1/jobs/{job_id}")
def get(job_id: str) -> dict[str, Any]:
    """How the task stands."""
    try:
        result = AsyncResult(job_id, app=celery)
        state, value = result.state, result.result
    except (OperationalError, RedisError) as error:
        raise HTTPException(503, "try again") from error
    status = STATES[state]
    terminal = status not in VERSIONS
    return {
        "id": job_id,
        "status": status,
        "terminal": terminal,
        "version": VERSIONS.get(status, 4),
        "attempt": 0 if status == "queued" else 1,
        "output": value if status == "succeeded" else None,
        "error": str(value) if status == "failed" else None,
    }


@app.get("/api/v1/jobs/{job_id}/events")
def events(job_id: str) -> dict[str, Any]:
    """Celery keeps no log of a task; this is what its state implies."""
    job = get(job_id)
    types = ["queued", "started", "done"][: VERSIONS.get(job["status"], 3)]
    events = [{"seq": n, "type": kind, "attempt": min(n - 1, 1), "data": {}} for n, kind in enumerate(types, 1)]
    return {"events": events, "next": None}


@app.get("/api/v1/jobs/{job_id}/attempts")
def attempts(job_id: str) -> dict[str, Any]:
    """Celery does not count them; this is what its state implies."""
    job = get(job_id)
    return {"attempts": [{"attempt": 1, "outcome": job["status"] if job["terminal"] else None}] if job["attempt"] else []}
