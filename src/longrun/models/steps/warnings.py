"""What the log of a job says about its steps, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from longrun.models.steps.awaits import Step, Want

_NAMED = 5


def changed_input(want: Want, *, named: bool) -> str:
    """A step has another input than the one whose result is used."""
    what = f"step {want.name!r}" if named else f"the step at {want.place}"
    how = (
        "rename it to run it anew"
        if named
        else "name it (key=…), or make its input the same at each run: job.now() and job.random instead of a clock and a random number"
    )
    return f"step-input-changed: {what} ({want.group}) has another input than when it was recorded; the recorded result is used: {how}"


def unused_steps(marks: Sequence[Step]) -> str:
    """Steps were paid for, and the code asks for them no more. Each mark's outcome is what the store says of it: usage, or 1."""
    keys, cost = [mark.want.group for mark in marks], dict[str, float]()
    for mark in marks:
        used = orjson.loads(mark.outcome.data) if mark.outcome else 1
        for name, value in used.items() if isinstance(used, dict) else ():
            cost[name] = cost.get(name, 0) + value
    shown = ", ".join(keys[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
    spent = f"; they have used {', '.join(f'{name} {value:g}' for name, value in sorted(cost.items()))}" if cost else ""
    return f"steps-unused: the code has changed and does not ask for these steps any more: {shown}{spent}"
