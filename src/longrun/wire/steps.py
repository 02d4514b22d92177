"""What a job that runs jobs is made of."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from msgspec import Raw

from longrun.clock import rfc3339
from longrun.jobs.record import JobRecord
from longrun.jobs.states import TERMINAL, Status
from longrun.wire.base import Answer, Json, Members, Time, about
from longrun.wire.jobs import NEXT_PAGE, usage_of
from longrun.wire.problems import JobProblem

StepKind = Literal["child", "step", "sleep", "wait"]


class StepUrls(Answer):
    """Where to go on."""

    self: str
    tree: str


class Step(Answer, kw_only=True):
    """Something that a job has made: a job of its own, or what it is to find again when its code runs anew."""

    kind: Annotated[StepKind, about("`step`: a call inside the job; `wait`: for an answer")]
    key: Annotated[str, about("its name in the job, the same in every attempt")]
    status: Status
    id: Annotated[str | None, about("of the job that it is")]
    model: str | None
    attempt: int | None
    asked_at: Annotated[Time, about("when it was first asked for")]
    started_at: Time | None
    finished_at: Time | None
    until: Annotated[Time | None, about("the end of a sleep, the deadline of a wait")]
    usage: Annotated[Json, about("what it has used, without its own steps", type=["object", "null"])]
    steps_usage: Annotated[Json, about("what its own steps that have ended have used, with theirs", type=["object", "null"])]
    error: JobProblem | None
    children: Annotated[int, about("how many steps it has itself; `urls.tree` has them")]
    unused: Annotated[bool, about("the code that ran last did not ask for it")]
    urls: StepUrls | None


class Tree(Answer, kw_only=True):
    """A job, and a page of its steps, oldest first."""

    id: str
    model: str
    status: Status
    terminal: bool
    attempt: int
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    usage: Annotated[Members, about("what the job itself has used")]
    steps_usage: Annotated[Members, about("what its steps that have ended have used, with their own steps")]
    steps: list[Step]
    next: Annotated[str | None, NEXT_PAGE]

    @classmethod
    def of(cls, job: JobRecord, steps: list[Step]) -> Self:
        """A page of the tree of a job."""
        return cls(
            id=job.id, model=job.model, status=job.status, terminal=job.status in TERMINAL, attempt=job.attempt,
            created_at=rfc3339(job.created), started_at=rfc3339(job.started), finished_at=rfc3339(job.finished),
            usage=usage_of(job), steps_usage=Raw(job.tree_usage or job.kids_usage or b"{}"), steps=steps, next=None,
        )  # fmt: skip
