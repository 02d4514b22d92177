"""What the log of a job says about its steps, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from longrun.models.steps.awaits import Want

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


def unused_steps(keys: Sequence[str]) -> str:
    """Steps were paid for, and the code asks for them no more."""
    shown = ", ".join(keys[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
    return f"steps-unused: the code has changed and does not ask for these steps any more: {shown}; what they cost is in the job's tree"
