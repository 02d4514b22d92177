"""Batches: many inputs in one request, each of which becomes a job."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from longrun.clock import is_batch_id, new_batch_id, new_file_id
from longrun.errors import IdempotencyKeyReused, Problem, StorageFull, StoreUnavailable, ValidationFailed
from longrun.jobs.files import FileRef
from longrun.models import ModelSpec
from longrun.service.batch_inputs import Item, Passing
from longrun.service.batch_request import BatchOptions
from longrun.service.feeding import cancel_items, feed
from longrun.service.files import discard
from longrun.service.jsontext import compact
from longrun.service.noting import noted
from longrun.service.parts import Parts
from longrun.service.read import RE_READ, make_cursor, parse_cursor, sleep_until
from longrun.service.submit import policy_in_force, policy_of, stored_key, unconfirmed
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
    parts: Parts, tenant: str, spec: ModelSpec, items: AsyncIterator[Item], options: BatchOptions, *, idempotency_key: str = ""
) -> Submitted:
    """Validate all inputs, store them, accept the batch, and make jobs of its items for up to a second; a chore makes the rest.

    Args:
        parts: the open service.
        tenant: who asks.
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
    policy = policy_in_force(policy_of(parts, spec), options)
    if options.webhook is not None:
        check_url(parts, options.webhook.url, "/webhook/url")
    if parts.gate.closed:
        await parts.gate.admit()
    passing = Passing(parts, tenant, spec, items, options.model_dump(exclude_unset=True))
    file_id, batch_id = new_file_id(), new_batch_id()
    stored = await parts.blobs.put(
        file_id, passing.lines(), limit=_ANY_SIZE, content_type="application/jsonl", filename="inputs.jsonl"
    )  # fmt: skip
    since = time.monotonic()
    ref = FileRef(file_id, file_id, stored.size, stored.digest, "application/jsonl", "inputs.jsonl")
    await noted(parts.store, tenant, ref, keep=None, since=since)
    batch = NewBatch(
        id=batch_id,
        tenant=tenant,
        model=spec.name,
        queue=spec.queue,
        priority=options.priority,
        total=passing.total,
        file=file_id,
        key=ref.key,
        policy=policy.to_json(),
        idempotency_key=stored_key(idempotency_key),
        fingerprint=passing.fingerprint if idempotency_key else "",
        tags=compact(options.tags) if options.tags else None,
        metadata=compact(options.metadata) if options.metadata else None,
        hook=compact(options.webhook.model_dump(exclude_none=True)) if options.webhook else None,
    )
    submitted = await _accept(parts, batch, list(passing.files))
    # It is accepted: whatever goes wrong from here on, a chore goes on with it.
    with suppress(Problem):
        await feed(parts.store, parts.blobs, submitted.batch.id, AT_ONCE)
        submitted = replace(submitted, batch=await parts.store.batches.read(submitted.batch.id, tenant))
    return submitted


async def _accept(parts: Parts, batch: NewBatch, files: list[str]) -> Submitted:
    try:
        if files:
            await parts.store.batches.bind(batch.id, batch.tenant, files)
        outcome, found = await _confirmed(parts, batch)
        if outcome in ("new", "replay"):
            if outcome == "replay":
                await discard(parts, batch.tenant, [batch.file])
            return Submitted(await _read_or_known(parts, batch, found, outcome), replayed=outcome == "replay")
        if outcome == "reused":
            raise IdempotencyKeyReused("This Idempotency-Key was used with another model or body. Use a new key for a new request.")
        raise ValidationFailed("The inputs were removed before the batch was accepted. Send it again.")
    except BaseException as error:
        # As in `attach.let_go`: what a store that is away holds goes within the hour.
        if not isinstance(error, StoreUnavailable) or isinstance(error, StorageFull):
            await discard(parts, batch.tenant, [batch.file])
        raise


async def _confirmed(parts: Parts, batch: NewBatch) -> tuple[Literal["new", "replay", "reused", "nofile"], str]:
    try:
        return await parts.store.batches.accept(batch)
    except StorageFull:
        raise
    except StoreUnavailable as error:
        raise unconfirmed(error, "batch", batch.id) from error


async def _read_or_known(parts: Parts, batch: NewBatch, found: str, outcome: str) -> BatchRecord:
    """The record as it is; of a batch that was just accepted what is known of it, when the store goes away in this moment."""
    try:
        return await parts.store.batches.read(found, batch.tenant)
    except StoreUnavailable:
        if outcome != "new":
            raise
    return BatchRecord(
        batch.id, batch.tenant, batch.model, batch.priority, "open", batch.total, 0, batch.total, int(time.time() * 1000),
        tags=batch.tags, metadata=batch.metadata, policy=batch.policy, hook=batch.hook,
    )  # fmt: skip


async def get(parts: Parts, tenant: str, batch_id: str) -> BatchRecord:
    """The batch.

    Raises:
        BatchNotFound: unknown, or another tenant's.
        BatchGone: expired.
    """
    return await parts.store.batches.read(known_form(batch_id), tenant)


async def wait(
    parts: Parts, tenant: str, batch_id: str, *, timeout: float, known: frozenset[int] | None = None
) -> BatchRecord:  # fmt: skip
    """The batch as soon as it has ended, or after `timeout` seconds, or when this process is about to stop, as it is then.

    Args:
        known: versions that the caller has: return as soon as it has another one, within a second. None: wait for the end.

    Raises as `get` does.
    """
    deadline = time.monotonic() + timeout
    async with parts.store.follower.listen(parts.store.job_channel(known_form(batch_id))) as listener:
        while True:
            batch = await parts.store.batches.read(batch_id, tenant)
            left = deadline - time.monotonic()
            changed = known is not None and batch.version not in known
            if batch.terminal or changed or left <= 0 or parts.store.follower.dismissed:
                return batch
            await sleep_until(listener, min(left, RE_READ if known is None else _LOOK))


async def list_batches(parts: Parts, tenant: str, *, cursor: str | None, limit: int) -> tuple[list[BatchRecord], str | None]:
    """A page of batches, newest first, and the cursor of the next one. Raises ValidationFailed: the cursor is not one of ours."""
    place = None if cursor is None else parse_cursor(cursor, is_id=is_batch_id)
    found, following = await parts.store.batches.page(tenant, cursor=place, limit=limit)
    return found, None if following is None else make_cursor(*following)


async def cancel(parts: Parts, tenant: str, batch_id: str) -> BatchRecord:
    """Ask the batch to stop, and return it as it is then: what is no job yet never becomes one. Idempotent. Raises as `get` does."""
    if await parts.store.batches.cancel(known_form(batch_id), tenant):
        # It has been asked to: a chore goes on where this stops.
        with suppress(StoreUnavailable):
            await cancel_items(parts.store, batch_id, AT_ONCE)
    return await parts.store.batches.read(batch_id, tenant)


def known_form(batch_id: str) -> str:
    """`batch_id` when it has the form of an id. Raises BatchNotFound otherwise, without asking the store."""
    if not is_batch_id(batch_id):
        raise BATCH.not_found(batch_id)
    return batch_id
