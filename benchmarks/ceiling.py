"""The most that FastAPI itself can do with a submit: read and validate the same body, return a constant. Nothing is stored."""

from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, Field


class Input(BaseModel, extra="forbid"):
    """What the model takes."""

    text: str


class Submit(BaseModel, extra="forbid"):
    """The body of a submit to Longrun, the members that the benchmark sends."""

    input: Input
    priority: Annotated[int, Field(ge=0, le=9)] = 5


app = FastAPI()


@app.post("/submit", status_code=202)
async def submit(body: Submit) -> dict[str, str]:
    """Answer without doing anything."""
    return {"id": "job_00000000000000000000000000000000", "status": "queued"}
