"""`longrun jobs tree`: what a job is made of, a line for each step, those of a step below it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

HEADERS = ("STEP", "MODEL", "STATE", "SECONDS", "COST", "ID")


def rows(job: Json) -> Iterator[tuple[str, ...]]:
    """The rows of a table: the job, and below it what `RemoteJob.tree(deep=True)` holds."""
    yield (job["model"], job["model"], job["status"], *_used(job), job["id"])
    yield from _below(job.get("steps") or [], 1)


def _below(steps: list[Json], level: int) -> Iterator[tuple[str, ...]]:
    for step in steps:
        name = "  " * level + step["key"]
        yield (name, step.get("model") or step["kind"], _state(step), *_used(step), step.get("id") or "-")
        yield from _below(step.get("steps") or [], level + 1)


def _state(step: Json) -> str:
    words = [str(step["status"])]
    if step["status"] == "waiting" and step.get("until"):
        words.append(f"until {step['until']}")
    code = (step.get("error") or {}).get("code")
    if code and code != step["status"]:
        words.append(str(code))
    if step.get("unused"):
        words.append("unused")
    return ", ".join(words)


def _used(part: Json) -> tuple[str, str]:
    """Seconds in the code of models, and US dollars, with the steps below; a dash for what is not known."""
    used = [part.get("usage") or {}, part.get("steps_usage") or {}]
    seconds = [each["run_s"] for each in used if each.get("run_s") is not None]
    cost = [each["cost_usd"] for each in used if isinstance(each.get("cost_usd"), int | float)]
    return f"{sum(seconds):.1f}" if seconds else "-", f"${sum(cost):.4f}" if cost else "-"
