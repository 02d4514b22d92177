"""How a job is stopped. Start reading here; what is decided is in this module, and is pure.

Who asks, and where it comes in:

| reason     | who asks                                        | where that comes in                                                  |
|------------|-------------------------------------------------|----------------------------------------------------------------------|
| `canceled` | the caller, or `celery control revoke`          | `Leases`: pushed by the store, or answer to a heartbeat; `TicketPool` |
| `timeout`  | a time limit of the job has passed              | `Limits` compares `Run.deadline`                                     |
| `lost`     | another attempt owns the job, or it has ended   | `Leases`: answer to a heartbeat; `Emitter`: events are refused       |
| (shutdown) | the worker is to stop                           | `Engine.stop`: no step below; what has not ended goes back in time   |

All but the last go through `Limits.request_stop`. A job that waits here has ended with that. So has one item of a running batch, as long as
somebody wants another one: the batch is one call, which goes on, and the item's result is refused. Any other job takes up to three steps:

1. *flag*: a `cancel` frame. `job.*` and `yield` raise the reason.
2. *exception*, after a third of the grace: a second frame, and the reason is raised in code that does not look (`runner/interrupts.py`).
3. *the last step*, after the grace (with a `soft_timeout`: at the hard limit): the runner is killed, or the job given up, see `last_step`.

`Settler` writes how it ended. See docs/decisions/0009-how-a-job-is-stopped.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from longrun.jobs.failure import JobFailure, StoppedBy

StopReason = Literal["canceled", "timeout", "lost"]
#: Shortest time in seconds between flag and exception.
_LEAST = 0.1


def counts(before: StopReason | None, reason: StopReason) -> bool:
    """Whether a request to stop changes anything after an earlier one: a time limit gives way to the other reasons."""
    return before is None or (before == "timeout" and reason != "timeout")


def steps(reason: StopReason, now: float, grace: float, hard: float | None) -> tuple[float, float]:
    """When the second and the third step are due, for a job that is asked to stop at `now`; `hard` is its hard limit, if it has begun."""
    last = hard if reason == "timeout" and hard is not None and hard > now else now + grace
    return now + min(grace, max(_LEAST, grace / 3)), last


@dataclass(frozen=True, slots=True)
class Company:
    """Whom a job that does not stop shares its runner with."""

    wanted: bool = False  #: somebody waits for another job in it
    once: bool = False  #: one of those must not be run twice
    deaf: bool = False  #: the runner answers no ping


def last_step(company: Company, *, over: bool) -> Literal["kill", "fence"]:
    """What is done about a job that neither flag nor exception has stopped.

    A runner is ended when nobody waits for anything else in it. Otherwise the job is over for its caller and its result will be refused,
    while the work goes on beside that of the others, whom a kill would set back to their beginning. A deaf runner is no use to them: it is
    ended, and they run again without being charged; except that jobs which must not run twice are not lost because somebody canceled
    another one.

    Args:
        over: the job's own time limit is over.
    """
    if not company.wanted or (company.deaf and (over or not company.once)):
        return "kill"
    return "fence"


def failure(reason: StopReason, attempt: int, limit: str, by: StoppedBy | None, took: tuple[float | None, float]) -> JobFailure:
    """What the record says of a stopped attempt.

    Args:
        limit: the time limit that was over, in words.
        by: how it was stopped; None = it had not begun.
        took: seconds that its code had run (None: it was not entered), and that stopping took.
    """
    code = "timeout" if reason == "timeout" else "canceled"
    detail = f"The job had not ended within its {limit}." if reason == "timeout" else "The job was canceled."
    if by is None:
        return JobFailure(code, detail, attempt)
    if by == "fenced":
        detail += " Its process holds other jobs too and was not ended: the work may still go on there, and its result will not count."
    run_s = None if took[0] is None else round(took[0], 3)
    return JobFailure(code, detail, attempt, stopped_by=by, run_s=run_s, stop_s=round(took[1], 3))
