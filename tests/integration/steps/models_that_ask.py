"""Flows that wait for people (S23)."""

from __future__ import annotations

from typing import Any

from models_for_steps import both, note, work
from pydantic import BaseModel

from longrun import StepFailed


class Decision(BaseModel):
    ok: bool
    note: str = ""


@both(queue="flow")
async def asks_twice(job: Any, to: str, n: int) -> list[Any]:
    """Two waits of one name, as long as a person has by default."""
    first = await job.wait_for("approve", Decision, ask={"draft": "x"})
    second = await job.wait_for("approve", Decision)
    return [first.ok, first.note, second.ok, second.note, first == second]


@both(queue="flow")
async def asks_in_time(job: Any, to: str, n: int) -> list[Any]:
    """It waits for a moment, then for the test."""
    note(to, "flow")
    found: list[Any] = []
    for _ in range(2):
        try:
            found.append(await job.wait_for("approve", Decision, timeout=0.2))
        except StepFailed as error:
            found.append([error.code, error.step])
    return [*found, await job.run(work, name="after", to=to, wait=True)]
