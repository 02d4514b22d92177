"""Jobs and their attempts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Self

import orjson
from msgspec import UNSET, Raw, UnsetType

from longrun.clock import rfc3339
from longrun.jobs import policy as policies
from longrun.jobs.record import AttemptRecord, JobRecord
from longrun.jobs.states import Status
from longrun.wire.base import Answer, Json, Members, Texts, Time, about, as_it_is
from longrun.wire.files import OutputFile
from longrun.wire.problems import JobProblem
from longrun.wire.signals import Ask

_DELAYED = frozenset({Status.RETRYING, Status.SCHEDULED})
_ITS_STATUS = about("treat one that you do not know as unfinished")
NEXT_PAGE = about("URL of the next page")


class Policy(Answer):
    """The limits in force. Durations are seconds."""

    max_attempts: int
    backoff: float
    timeout: float
    soft_timeout: float | None
    start_within: float | None
    total_timeout: float | None
    retain_for: float
    delivery: policies.Delivery

    @classmethod
    def of(cls, policy: policies.Policy) -> Self:
        """What callers may know of a policy."""
        return cls(*[getattr(policy, name) for name in cls.__struct_fields__])

    @staticmethod
    @lru_cache(maxsize=256)
    def stored(data: bytes | None) -> Policy:
        """The policy of a record; None: it has none of its own. Most records have the policy of the one before."""
        return Policy.of(policies.Policy.from_json(data) if data else policies.Policy())


class Progress(Answer, forbid_unknown_fields=False, kw_only=True):
    """How far the job is, in the words of its model."""

    fraction: float | UnsetType | None = UNSET
    step: str | UnsetType | None = UNSET
    message: str | UnsetType | None = UNSET
    updated_at: Time | None

    @classmethod
    def stored(cls, data: bytes, at: int | None) -> Self:
        """The progress of a record."""
        held = orjson.loads(data)
        said = {name: held[name] for name in ("fraction", "step", "message") if name in held}
        return cls(**said, updated_at=rfc3339(at))


class Webhook(Answer):
    """Who is notified, and about what."""

    url: str
    events: list[str]

    @classmethod
    def stored(cls, data: bytes) -> Self:
        """The webhook of a record, without its secret."""
        held = orjson.loads(data)
        return cls(held["url"], held["events"])


class JobUrls(Answer):
    """Where to go on."""

    self: str
    result: str
    events: str
    ws: str
    cancel: str
    tree: str

    @classmethod
    def of(cls, job_id: str, base: str) -> Self:
        """`base` is what stands before `/jobs`."""
        root = f"{base}/jobs/{job_id}"
        return cls(root, f"{root}/result", f"{root}/events", f"{root}/ws", f"{root}/cancel", f"{root}/tree")


class Job(Answer):
    """A job."""

    id: Annotated[str, about("`job_` and 32 hexadecimal digits")]
    model: str
    status: Annotated[Status, _ITS_STATUS]
    terminal: Annotated[bool, about("whether the job has ended")]
    version: Annotated[int, about("moves on with status and progress; also the ETag")]
    queue: str
    priority: int
    attempt: Annotated[int, about("0 before the first")]
    retries_left: int
    created_at: Time
    queued_at: Time | None
    started_at: Time | None
    finished_at: Time | None
    expires_at: Time | None
    next_attempt_at: Time | None
    position: Annotated[int | None, about("place in its lane, 1 = next; only while queued")]
    progress: Progress | None
    error: JobProblem | None
    partial: Annotated[bool, about("whether the output is what the model had when its time was over")]
    usage: Annotated[Members, about("seconds, and the figures that the model reports, summed over all attempts but for `queue_s`")]
    tags: Texts
    metadata: Members
    policy: Policy
    webhook: Webhook | None
    retry_of: str | None
    retried_by: str | None
    parent: Annotated[str | None, about("the job whose step it is")]
    root: Annotated[str | None, about("the job at the top of the tree that it belongs to; null: it is no step")]
    batch: Annotated[str | None, about("the batch whose item it is")]
    batch_index: Annotated[int | None, about("its place there, from 0")]
    urls: JobUrls
    asks: Annotated[list[Ask] | UnsetType, about("what it waits to be answered; left out of lists")] = UNSET
    output: Annotated[Json | UnsetType, about("what the model returned; left out of lists")] = UNSET
    output_file: Annotated[
        OutputFile | UnsetType | None, about("where the output is that is too large to stand here; left out of lists")
    ] = UNSET

    @classmethod
    def of(
        cls, job: JobRecord, base: str, *, asks: Sequence[Ask] = (), with_output: bool = True, debug: bool = False, **more: bool
    ) -> Self:  # fmt: skip
        """A job as callers see it. Stored JSON is passed on, not parsed.

        Args:
            job: the record; `parts.urls.job` has put the URLs of its files in.
            base: what stands before `/jobs` in the URLs.
            asks: what it waits to be answered, `service.signals.asks_of`.
            with_output: False leaves `asks`, `output` and `output_file` out.
            debug: whether errors carry the operator's text.
            more: further members.
        """
        urls = JobUrls.of(job.id, base)
        return cls(
            id=job.id, model=job.model, status=job.status, terminal=job.terminal, version=job.version, queue=job.queue,
            priority=job.priority, attempt=job.attempt, retries_left=job.retries_left,
            created_at=rfc3339(job.created), queued_at=rfc3339(job.queued), started_at=rfc3339(job.started),
            finished_at=rfc3339(job.finished), expires_at=rfc3339(job.expires),
            next_attempt_at=rfc3339(job.due) if job.status in _DELAYED else None, position=job.position,
            progress=None if job.progress is None else Progress.stored(job.progress, job.progress_at),
            error=None if job.error is None else JobProblem.of(job.error, urls.self, debug=debug),
            partial=job.partial, usage=usage_of(job), tags=Raw(job.tags or b"[]"), metadata=Raw(job.metadata or b"{}"),
            policy=Policy.stored(job.policy), webhook=None if job.hook is None else Webhook.stored(job.hook),
            retry_of=job.retry_of, retried_by=job.retried_by, parent=job.parent, root=job.root, batch=job.batch,
            batch_index=job.batch_index, urls=urls, asks=list(asks) if with_output else UNSET,
            output=Raw(job.output or b"null") if with_output else UNSET,
            output_file=_output_file(job) if with_output else UNSET,
            **more,
        )  # fmt: skip


def usage_of(job: JobRecord) -> Raw:
    """What a job itself has used."""
    used = orjson.loads(job.usage) if job.usage is not None else {}
    return as_it_is({"queue_s": _queued(job), **{name: value for name, value in used.items() if name != "queue_s"}})


def _queued(job: JobRecord) -> float | None:
    """Seconds of its latest time in the queue; None: it is there, or was never taken from there."""
    if job.queued is None or job.started is None or job.started < job.queued:
        return None
    return _seconds(job.queued, job.started)


def _output_file(job: JobRecord) -> OutputFile | None:
    """Where an output is that is too large for the record."""
    ref = job.output_ref
    if ref is None or job.output_url is None:
        return None
    return OutputFile(ref.id, job.output_url, ref.content_type, ref.size, ref.digest, ref.name or UNSET)


def _seconds(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else max(0, end - start) / 1000


class JobMessage(Job, kw_only=True):
    """A job in a webhook."""

    output_omitted: Annotated[bool, about("whether the output is too large for a webhook")]


class JobPage(Answer):
    """Jobs, newest first."""

    jobs: list[Job]
    next: Annotated[str | None, NEXT_PAGE]


class OutputSoFar(Answer):
    """What the current attempt has yielded."""

    attempt: int
    status: Status
    complete: bool
    truncated: Annotated[bool, about("whether its beginning is not kept any longer")]
    output: Json


class Attempt(Answer):
    """One claim of a job: who ran it, when, and how it ended."""

    attempt: int
    worker: str
    device: str | None
    started_at: Time
    finished_at: Time | None
    queue_s: Annotated[float | None, about("from its queueing to `started_at`, the claim by a worker")]
    wait_s: Annotated[float | None, about("from then until the model's code began; null: that is not known, or it did not begin")]
    run_s: Annotated[float | None, about("in the model's code; null: as above")]
    store_s: Annotated[float | None, about("the rest, until `finished_at`, when the store had the outcome; null: as above")]
    outcome: str | None
    usage: Annotated[Json, about("figures of this attempt, reported ones too; the job's `usage` has the sums", type=["object", "null"])]
    error: JobProblem | None

    @classmethod
    def of(cls, attempt: AttemptRecord, instance: str, *, debug: bool = False) -> Self:
        """An attempt as callers see it; `instance` is the path of its job."""
        took, usage = _seconds(attempt.started, attempt.finished), attempt.usage or {}
        wait_s, run_s, steps_s = usage.get("wait_s"), usage.get("run_s"), usage.get("steps_s", 0)
        rest = None if took is None or wait_s is None or run_s is None else round(max(0.0, took - wait_s - run_s - steps_s), 6)
        return cls(
            attempt=attempt.attempt, worker=attempt.worker, device=attempt.device, started_at=rfc3339(attempt.started),
            finished_at=rfc3339(attempt.finished), queue_s=_seconds(attempt.queued, attempt.started), wait_s=wait_s, run_s=run_s,
            store_s=rest, outcome=attempt.outcome,
            usage=as_it_is(attempt.usage),
            error=None if attempt.error is None else JobProblem.of(attempt.error, instance, debug=debug),
        )  # fmt: skip


class AttemptList(Answer):
    """Attempts, oldest first."""

    attempts: list[Attempt]
