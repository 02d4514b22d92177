"""Flows that are run again from their top."""

from __future__ import annotations

from typing import Any

from models_for_steps import both, note, work


def paid(to: str, name: str) -> str:
    """A local step that costs."""
    note(to, name)
    return f"{name} paid"


@both()
async def every_kind(job: Any, to: str, n: int) -> list[Any]:
    """A step of each kind, then one that the test lets go on."""
    note(to, "flow")
    found = [await job.run(work, name="child", to=to), await job.step("local", paid, to, "local"), await job.sleep(0.01)]
    found.append(await job.wait_for("word", str))
    return [*found, await job.run(work, name="last", to=to, wait=True)]
