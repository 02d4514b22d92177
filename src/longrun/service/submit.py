"""Accepting a job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longrun.clock import new_job_id
from longrun.errors import IdempotencyKeyReused, QueueFull, StorageFull, StoreUnavailable, SubmitUnconfirmed, ValidationFailed
from longrun.jobs.file_refs import FileRef
from longrun.jobs.policy import Policy, narrow
from longrun.jobs.record import JobRecord
from longrun.jobs.states import Status
from longrun.models import ModelSpec
from longrun.service.aside import aside
from longrun.service.caller import Caller
from longrun.service.input_files import attach, by_digest
from longrun.service.jsontext import canonical, compact, compacted
from longrun.service.policies import model_policy
from longrun.service.request import BatchOptions, SubmitRequest
from longrun.service.uploads import Uploads
from longrun.service.webhooks import check_url
from longrun.store.records import Accepted, NewJob


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted job; `replayed` when an earlier request with the same key had made it."""

    job: JobRecord
    replayed: bool = False


async def submit(
    caller: Caller,
    model: str,
    request: SubmitRequest,
    uploads: Uploads,
    *,
    idempotency_key: str = "",
    body: Any = None,
) -> Submitted:
    """Validate the input, store the job, and say what became of it.

    Args:
        caller: who asks.
        model: name of the model.
        request: the typed body.
        uploads: owns the files of the request until the job is accepted; its input names by id those that came with it.
        idempotency_key: 1 to 255 visible characters, or empty.
        body: the decoded body as sent, for the fingerprint of the idempotency key; default: what `request` sets.

    Raises:
        UnknownModel, ValidationFailed, PayloadTooLarge, UnsupportedMedia, IdempotencyKeyReused, QueueFull, StorageFull
        BlobsFull, BlobsUnavailable: a file, or a large input, cannot be stored.
        StoreUnsafe, StoreUnavailable: admission is closed; nothing was stored.
        SubmitUnconfirmed: the store did not answer; the job named in `job_id` may exist.
    """
    spec = caller.models.get(model)
    policy = policy_in_force(policy_of(caller, spec), request)
    sent = request.model_dump(exclude_unset=True) if body is None else body
    key = stored_key(idempotency_key)
    if key and spec.input.has_files and (repeated := await _repeated(uploads, spec.name, key, sent)):
        return repeated
    inputs = await attach(spec, request.input, uploads)
    mark = await aside(inputs.size, _by_content, spec.name, sent, inputs.files) if key else ""
    check_delay(policy, request.delay)
    if request.webhook is not None:
        check_url(caller, request.webhook.url, "/webhook/url")
    await caller.admission.admit()
    job = NewJob(
        id=new_job_id(),
        tenant=caller.tenant,
        model=spec.name,
        queue=spec.queue,
        priority=request.priority,
        input=inputs.data,
        policy=policy.to_json(),
        delay=request.delay,
        idempotency_key=key,
        fingerprint=mark,
        tags=compact(request.tags) if request.tags else None,
        metadata=compact(request.metadata) if request.metadata else None,
        hook=compact(request.webhook.model_dump(exclude_none=True)) if request.webhook else None,
        files=tuple(inputs.files.values()),
    )
    submitted = await _store(caller, job)
    if not submitted.replayed:
        uploads.release()
    return submitted


async def _repeated(uploads: Uploads, model: str, key: str, sent: Any) -> Submitted | None:
    """The job of a request that is here again; None: it is another one, or the first.

    Its files may have been deleted meanwhile, or its URLs have run out: they are those of the job, and nothing is fetched once more.
    """
    caller = uploads.caller
    bound = await caller.store.records.bound(caller.tenant, key)
    if bound is None:
        return None
    job_id, print_of_it, files = bound
    came = {file_id: record.ref for file_id, record in uploads.records.items()}
    if await aside(len(await compacted(sent)), _by_content, model, sent, files | came) != print_of_it:
        return None
    return Submitted(await caller.store.records.read(job_id, caller.tenant), replayed=True)


async def _store(caller: Caller, job: NewJob) -> Submitted:
    try:
        accepted = await caller.store.records.submit(job)
        if accepted.outcome == "replay":
            return Submitted(await caller.store.records.read(accepted.id, job.tenant), replayed=True)
        if accepted.outcome == "new":
            known = _record(job, accepted)
            return Submitted(known or await caller.store.records.read(job.id, job.tenant))
    except StorageFull:
        raise
    except StoreUnavailable as error:
        raise unconfirmed(error, "job", job.id) from error
    if accepted.outcome == "nofile":
        finding = {"pointer": "/input", "detail": f"There is no file {accepted.id}"}
        raise ValidationFailed("A file that the input names was deleted or has expired.", errors=[finding])
    if accepted.outcome == "reused":
        raise IdempotencyKeyReused("This Idempotency-Key was used with another model or body. Use a new key for a new request.")
    raise QueueFull(f"Model {job.model} has as many waiting jobs as it may have. Try again later.", retry_after=10)


def unconfirmed(error: StoreUnavailable, what: str, made: str) -> SubmitUnconfirmed:
    """What is answered when nobody knows whether the store has accepted a job or a batch (`what`) under the id `made`."""
    which: dict[str, Any] = {f"{what}_id": made}
    return SubmitUnconfirmed(
        f"The store did not confirm the {what} in time. It may exist under the id in `{what}_id`; "
        f"repeat the request with the same Idempotency-Key to be sure of one {what}.",
        retry_after=error.retry_after or 2,
        **which,
    )


def _record(job: NewJob, accepted: Accepted) -> JobRecord | None:
    """The record of a job that was stored just now, without reading it; None when it has moved on already."""
    waits = job.delay > 0
    if waits == (accepted.position > 0):
        return None
    at = accepted.created
    return JobRecord(
        id=job.id,
        tenant=job.tenant,
        model=job.model,
        queue=job.queue,
        status=Status.SCHEDULED if waits else Status.QUEUED,
        version=1,
        priority=job.priority,
        attempt=0,
        created=at,
        queued=None if waits else at,
        due=at + int(job.delay * 1000) if waits else None,
        tags=job.tags,
        metadata=job.metadata,
        hook=job.hook,
        policy=job.policy,
        position=accepted.position or None,
    )


def policy_of(caller: Caller, spec: ModelSpec) -> Policy:
    """What the model and the operator allow; it never changes."""
    if (known := caller.parts.policies.get(spec)) is None:
        known = caller.parts.policies[spec] = narrow(model_policy(spec.options, caller.settings), {})
    return known


def policy_in_force(allowed: Policy, request: SubmitRequest | BatchOptions) -> Policy:
    """What is allowed, narrowed by what the request asks for."""
    return narrow(allowed, request.policy.model_dump(exclude_none=True)) if request.policy.model_fields_set else allowed


def check_delay(policy: Policy, delay: float) -> None:
    """Raises ValidationFailed: the job's time would be over before it is queued."""
    if policy.total_timeout is not None and delay >= policy.total_timeout:
        finding = {"pointer": "/delay", "detail": f"must be shorter than the job's total_timeout ({policy.total_timeout:g} s)"}
        raise ValidationFailed("The job would be over before it is queued.", errors=[finding])


def stored_key(idempotency_key: str) -> str:
    """As it stands in the store's key. The colon ends the tenant's name there, so that no tenant can reach another's keys."""
    return idempotency_key.replace("%", "%25").replace(":", "%3A")


def _by_content(model: str, body: Any, files: Mapping[str, FileRef]) -> str:
    return fingerprint(model, by_digest(body, files))


def fingerprint(model: str, body: Any) -> str:
    """SHA-256 of the model and the body as sent, the same whatever the order of the body's members."""
    return hashlib.sha256(model.encode() + b"\0" + canonical(body)).hexdigest()
