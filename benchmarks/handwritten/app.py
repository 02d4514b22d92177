"""The API: submit a task, ask how it stands."""

from typing import Any

from celery.result import AsyncResult
from fastapi import FastAPI
from pydantic import BaseModel

from handwritten.tasks import celery, noop


class Input(BaseModel):
    """The body of a submit."""

    text: str


app = FastAPI()


@app.post("/submit", status_code=202)
def submit(body: Input) -> dict[str, str]:
    """Queue a task. A plain `def`: `delay` blocks, so FastAPI runs it in its thread pool."""
    return {"id": noop.delay(body.text).id}


@app.get("/status/{task_id}")
def status(task_id: str) -> dict[str, Any]:
    """How the task stands, and its result once there is one."""
    result = AsyncResult(task_id, app=celery)
    state = result.status
    return {"status": state, "result": result.result if state == "SUCCESS" else None}
