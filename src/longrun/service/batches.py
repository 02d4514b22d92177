"""Batches: many inputs in one request, each of which becomes a job."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace

from longrun.clock import is_batch_id, new_batch_id
from longrun.errors import BatchNotFound, IdempotencyKeyReused, Problem, StorageFull, StoreUnavailable, ValidationFailed
from longrun.jobs.file_refs import FileRef
from longrun.jobs.policy import Policy
from longrun.models import ModelSpec
from longrun.service.batch_feed import cancel_items, feed
from longrun.service.batch_inputs import Item, Passing
from longrun.service.caller import Caller
from longrun.service.file_records import record_file
from longrun.service.jsontext import compact
from longrun.service.losses import lost_batch
from longrun.service.read import RE_READ, make_cursor, parse_cursor, sleep_until
from longrun.service.request import BatchOptions
from longrun.service.submit import policy_in_force, policy_of, stored_key, unconfirmed
from longrun.service.uploads import Uploads
from longrun.service.webhooks import check_url
from longrun.store.batches import BatchRecord, NewBatch
from longrun.store.kinds import BATCH

#: Seconds that a request goes on making jobs, or canceling them; what is left then is a chore.
AT_ONCE = 1.0
#: No file of inputs is larger: their own limit was kept when they were read.
_ANY_SIZE = 1 << 62
#: Seconds between two looks for whoever waits for any change: items end by the thousand, and each would wake it.
_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted batch; `replayed` when an earlier request with the same key had made it."""

    batch: BatchRecord
    replayed: bool = False


async def submit_batch(
    caller: Caller, spec: ModelSpec, items: AsyncIterator[Item], options: BatchOptions, *, idempotency_key: str = ""
) -> Submitted:
    """Validate all inputs, store them, accept the batch, and make jobs of its items for up to a second; a chore makes the rest.

    Args:
        caller: who asks.
        spec: the model.
        items: the inputs, read as they are asked for.
        options: what holds for all of them.
        idempotency_key: 1 to 255 visible characters, or empty.

    Raises:
        ValidationFailed: of the inputs, 50 findings at most; nothing was stored.
        IdempotencyKeyReused, StorageFull, BlobsFull, BlobsUnavailable
        StoreUnsafe, StoreUnavailable: nothing was accepted.
        SubmitUnconfirmed: the store did not answer; the batch named in `batch_id` may exist.
        Problem: whatever reading the inputs raises.
    """
    policy = policy_in_force(policy_of(caller, spec), options)
    if options.webhook is not None:
        check_url(caller, options.webhook.url, "/webhook/url")
    await caller.admission.admit()
    passing = Passing(caller, spec, items, options.model_dump(exclude_unset=True))
    async with Uploads(caller) as uploads:
        batch = await _stored(uploads, passing, spec, options, policy, stored_key(idempotency_key))
        submitted = await _accept(caller, batch, list(passing.files))
        if not submitted.replayed:
            uploads.release()
    # It is accepted: whatever goes wrong from here on, a chore goes on with it.
    with suppress(Problem):
        await feed(caller.store, caller.blobs, submitted.batch.id, AT_ONCE)
        submitted = replace(submitted, batch=await caller.store.batches.read(submitted.batch.id, caller.tenant))
    return submitted


async def _stored(  # noqa: PLR0917
    uploads: Uploads, passing: Passing, spec: ModelSpec, options: BatchOptions, policy: Policy, key: str
) -> NewBatch:
    """The batch, ready to be accepted: its inputs are checked and stored."""
    caller, file_id = uploads.caller, uploads.new_id()
    stored = await caller.blobs.put(
        file_id, passing.lines(), limit=_ANY_SIZE, content_type="application/jsonl", filename="inputs.jsonl"
    )  # fmt: skip
    since = time.monotonic()
    ref = FileRef(file_id, file_id, stored.size, stored.digest, "application/jsonl", "inputs.jsonl")
    await record_file(caller.store, caller.tenant, ref, keep=None, since=since)
    return NewBatch(
        id=new_batch_id(),
        tenant=caller.tenant,
        model=spec.name,
        queue=spec.queue,
        priority=options.priority,
        total=passing.total,
        file=file_id,
        key=ref.key,
        policy=policy.to_json(),
        idempotency_key=key,
        fingerprint=passing.fingerprint if key else "",
        tags=compact(options.tags) if options.tags else None,
        metadata=compact(options.metadata) if options.metadata else None,
        hook=compact(options.webhook.model_dump(exclude_none=True)) if options.webhook else None,
    )


async def _accept(caller: Caller, batch: NewBatch, files: list[str]) -> Submitted:
    store = caller.store.batches
    if files:
        await store.bind(batch.id, batch.tenant, files)
    try:
        outcome, found = await store.accept(batch)
        if outcome in ("new", "replay"):
            return Submitted(await store.read(found, batch.tenant), replayed=outcome == "replay")
    except StorageFull:
        raise
    except StoreUnavailable as error:
        raise unconfirmed(error, "batch", batch.id) from error
    if outcome == "reused":
        raise IdempotencyKeyReused("This Idempotency-Key was used with another model or body. Use a new key for a new request.")
    raise ValidationFailed("The inputs were removed before the batch was accepted. Send it again.")


async def get(caller: Caller, batch_id: str) -> BatchRecord:
    """The batch.

    Raises:
        BatchNotFound: unknown, or another tenant's.
        BatchGone: expired.
    """
    return await caller.store.batches.read(known_form(batch_id), caller.tenant)


async def wait(
    caller: Caller, batch_id: str, *, timeout: float, known: frozenset[int] | None = None, accepted: bool = False
) -> BatchRecord:
    """The batch as soon as it has ended, or after `timeout` seconds, or when this process is about to stop, as it is then.

    Args:
        known: versions that the caller has: return as soon as it has another one, within a second. None: wait for the end.
        accepted: the batch was there a moment ago.

    Raises as `get` does, and BatchLost: the store has lost it meanwhile.
    """
    deadline = time.monotonic() + timeout
    async with caller.store.follower.listen(caller.store.job_channel(known_form(batch_id))) as listener:
        while True:
            try:
                batch = await caller.store.batches.read(batch_id, caller.tenant)
            except BatchNotFound:
                if accepted:
                    raise lost_batch(batch_id, caller.store.losses.latest) from None
                raise
            accepted = True
            left = deadline - time.monotonic()
            changed = known is not None and batch.version not in known
            if batch.terminal or changed or left <= 0 or caller.store.follower.dismissed:
                return batch
            await sleep_until(listener, min(left, RE_READ if known is None else _LOOK))


async def list_batches(caller: Caller, *, cursor: str | None, limit: int) -> tuple[list[BatchRecord], str | None]:
    """A page of batches, newest first, and the cursor of the next one. Raises ValidationFailed: the cursor is not one of ours."""
    place = None if cursor is None else parse_cursor(cursor, is_id=is_batch_id)
    found, following = await caller.store.batches.page(caller.tenant, cursor=place, limit=limit)
    return found, None if following is None else make_cursor(*following)


async def cancel(caller: Caller, batch_id: str) -> BatchRecord:
    """Ask the batch to stop, and return it as it is then: what is no job yet never becomes one. Idempotent. Raises as `get` does."""
    if await caller.store.batches.cancel(known_form(batch_id), caller.tenant):
        # It has been asked to: a chore goes on where this stops.
        with suppress(StoreUnavailable):
            await cancel_items(caller.store, batch_id, AT_ONCE)
    return await caller.store.batches.read(batch_id, caller.tenant)


def known_form(batch_id: str) -> str:
    """`batch_id` when it has the form of an id. Raises BatchNotFound otherwise, without asking the store."""
    if not is_batch_id(batch_id):
        raise BATCH.not_found(batch_id)
    return batch_id
