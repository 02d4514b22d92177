"""What a job that runs jobs is made of."""

from __future__ import annotations

import asyncio

import orjson
from msgspec import Raw

from longrun import wire
from longrun.clock import rfc3339
from longrun.jobs.record import JobRecord
from longrun.jobs.states import Status
from longrun.service.caller import Caller
from longrun.service.read import known_form
from longrun.store.trees import Node

_OVER = orjson.dumps({"code": "wait-timeout", "detail": "Nobody answered in time."})


async def tree(caller: Caller, job_id: str, *, cursor: str | None, limit: int) -> tuple[wire.Tree, str | None]:
    """The job with a page of its steps, oldest first, and the cursor of the next page; None: it was the last.

    Raises:
        JobNotFound, JobGone
        ValidationFailed: the cursor is not one of ours.
    """
    reading = caller.store.records.read(known_form(job_id), caller.tenant, most_output=0)
    job, page = await asyncio.gather(reading, caller.store.trees.page(job_id, caller.tenant, cursor or "", limit))
    return wire.Tree.of(job, [step_view(caller, job, each) for each in page.nodes]), page.next or None


def step_view(caller: Caller, job: JobRecord, node: Node) -> wire.Step:
    """A step of `job` as callers see it."""
    urls = None if node.id is None else wire.JobUrls.of(node.id, caller.base)
    instance = wire.JobUrls.of(job.id, caller.base).self if urls is None else urls.self
    error = _OVER if node.kind == "wait" and node.done and not node.answered else node.error
    return wire.Step(
        kind=node.kind, key=node.key, status=_status(job, node), id=node.id, model=node.model, attempt=node.attempt if urls else None,
        asked_at=rfc3339(node.at), started_at=rfc3339(node.started), finished_at=rfc3339(node.finished), until=rfc3339(node.until),
        usage=_used(node, node.usage), steps_usage=_used(node, node.kids_usage),
        error=None if error is None else wire.JobProblem.of(error, instance, debug=caller.debug),
        children=node.kids, unused=node.unused, urls=None if urls is None else wire.StepUrls(urls.self, urls.tree),
    )  # fmt: skip


def _used(node: Node, usage: bytes | None) -> Raw:
    return Raw(usage or (b"null" if node.id is None else b"{}"))


def _status(job: JobRecord, node: Node) -> Status:
    if node.status is not None:
        return node.status
    if node.done:
        failed = node.error is not None or (node.kind == "wait" and not node.answered)
        return Status.FAILED if failed else Status.SUCCEEDED
    if job.terminal:
        return Status.CANCELED
    return Status.RUNNING if node.kind == "step" else Status.WAITING
