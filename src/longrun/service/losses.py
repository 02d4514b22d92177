"""What is said of a loss: to operators in the log, in /readyz and by `longrun doctor`, and to callers whose job is not there any more."""

from __future__ import annotations

from longrun.clock import is_batch_id, is_job_id, rfc3339
from longrun.errors import BatchLost, BatchNotFound, EventsLost, JobLost, JobNotFound, Problem
from longrun.service.store_checks import Finding
from longrun.store.losses import Loss

MEND = "see docs/operating.md, What a failover or a power cut has taken"
#: Milliseconds: an id holds the time of the API's clock, a loss that of the store's.
_CLOCKS = 10_000
_WHY = {
    "failover": "a replica took over that had not received it",
    "restart": "the server was started again without it, after a power cut or with an older copy of the data",
    "reload": "the server took up older data while it ran",
    "unknown": "the data are older than what the store had confirmed, after a failover, a restart or a restore",
    "emptied": "the store was emptied",
}


def sentence(loss: Loss) -> str:
    """What was lost, between which times (UTC), and why."""
    end = rfc3339(loss.end)
    if loss.kind == "other":
        return f"other data than until {end} are behind the address"
    if loss.begin is None:
        return f"what was written before {end} is lost: {_WHY[loss.kind]}"
    return f"what was written between {rfc3339(loss.begin)} and {end} may be lost: {_WHY[loss.kind]}"


def examine_loss(loss: Loss | None) -> Finding:
    """What `longrun doctor` says of the last day."""
    if loss is None:
        return Finding("ok", "lost", "nothing was found to be lost in the last day")
    return Finding("warn", "lost", sentence(loss), MEND)


def is_in(loss: Loss, made: int) -> bool:
    """Whether what was made at this time, by the clock of an API, may have been lost."""
    return (loss.begin is None or loss.begin - _CLOCKS <= made) and made <= loss.end + _CLOCKS


def explained(problem: Problem, wanted: str, loss: Loss | None) -> Problem:
    """The problem that a job or batch is not there; as lost, when it may have been lost. `wanted`: its id.

    Decided by the time in the id alone, so that nobody learns from it whether another tenant has such a job.
    """
    if loss is None or not (is_job_id(wanted) or is_batch_id(wanted)) or not is_in(loss, int(wanted.partition("_")[2][:12], 16)):
        return problem
    hint = f"{_known(loss)}. If it was accepted then, submit it again."
    if type(problem) is JobNotFound:
        return JobLost(f"There is no job {wanted}. {hint}")
    if type(problem) is BatchNotFound:
        return BatchLost(f"There is no batch {wanted}. {hint}")
    return problem


def lost_job(job_id: str, loss: Loss | None) -> JobLost:
    """The problem that a job was there a moment ago and is not there any more, without a tombstone."""
    return JobLost(f"Job {job_id} was accepted, and the store has lost it. {_known(loss)}. Submit it again.")


def lost_batch(batch_id: str, loss: Loss | None) -> BatchLost:
    """The same of a batch, or of the latest that was known of it."""
    return BatchLost(
        f"Batch {batch_id}, or what had become of it, was lost by the store. {_known(loss)}. Look at it again, or submit it again."
    )


def lost_events(job_id: str, after: int, loss: Loss | None) -> EventsLost:
    """The problem that a reader has events up to `after` that are not those of the log any more."""
    return EventsLost(
        f"Events of job {job_id}, up to {after}, were lost by the store. {_known(loss)}. Read its events from the first one on."
    )


def _known(loss: Loss | None) -> str:
    text = "when is not known yet" if loss is None else sentence(loss)
    return f"{text[:1].upper()}{text[1:]}"
