"""Webhooks: registered endpoints, secrets, the ledger of deliveries, and what a message says."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import orjson
from msgspec import UNSET, Raw
from pydantic import Field

from longrun import wire
from longrun.clock import is_batch_id, rfc3339
from longrun.errors import QuotaExceeded, ValidationFailed
from longrun.jobs.record import JobRecord
from longrun.jobs.states import Status
from longrun.service.batch_view import batch_view
from longrun.service.caller import Caller
from longrun.service.read import make_cursor
from longrun.service.request import ENDS, Body, Events, WebhookSecret, WebhookUrl, parsed
from longrun.store.batches import BatchRecord
from longrun.store.webhooks import MOST_ENDPOINTS, Delivery, Due, Endpoint
from longrun.webhooks.guard import Networks, Refused
from longrun.webhooks.guard import check_url as judge_url
from longrun.webhooks.signing import new_secret
from longrun.wire.webhooks import EndpointEvent

DAY = 86_400.0
#: Largest message; an output that would make it larger is left out.
MOST_BYTES = 20_000
_PIECES = 20


class EndpointRequest(Body):
    """A receiver to register."""

    url: WebhookUrl
    events: Events[EndpointEvent] = Field(
        default_factory=lambda: list[EndpointEvent](ENDS), description="Which events are sent; the four ends when not given."
    )
    description: Annotated[str, Field(max_length=200)] = Field("", description="For people.")
    secret: WebhookSecret | None = Field(None, description="Signs its messages; made when not given.")


class EndpointChange(Body):
    """Members of an endpoint to be replaced."""

    url: WebhookUrl | None = Field(None)
    events: Events[EndpointEvent] | None = Field(None, description="Which events are sent.")
    description: Annotated[str, Field(max_length=200)] | None = Field(None, description="For people.")
    disabled: bool | None = Field(None, description="true: it gets nothing; false: it does again.")


class Rotation(Body):
    """A secret to be replaced."""

    overlap: Annotated[float, Field(ge=0, le=30 * DAY)] = Field(DAY, description="Seconds for which the secret before it signs too.")
    secret: WebhookSecret | None = Field(None, description="The new one; made when not given.")


def check_url(caller: Caller, url: str, where: str) -> None:
    """Judge a URL by what is written in it; nothing is resolved. Raises ValidationFailed with the pointer `where`."""
    try:
        judge_url(url, Networks(caller.settings.allowed_networks))
    except Refused as error:
        raise ValidationFailed(str(error), errors=[{"pointer": where, "detail": str(error)}]) from None


async def endpoints(caller: Caller) -> list[Endpoint]:
    """The tenant's endpoints, oldest first."""
    return await caller.store.webhooks.endpoints(caller.tenant)


async def endpoint(caller: Caller, endpoint_id: str) -> Endpoint:
    """One endpoint. Raises WebhookEndpointNotFound."""
    return await caller.store.webhooks.endpoint(caller.tenant, endpoint_id)


async def add_endpoint(caller: Caller, body: Any) -> Endpoint:
    """Register a receiver.

    Raises:
        ValidationFailed
        QuotaExceeded: the tenant has as many as it may have.
    """
    asked = parsed(EndpointRequest, body)
    check_url(caller, asked.url, "/url")
    members = asked.model_dump() | {"secret": asked.secret or new_secret()}
    made = await caller.store.webhooks.add_endpoint(caller.tenant, f"we_{secrets.token_hex(16)}", members)
    if made is None:
        raise QuotaExceeded(f"There are {MOST_ENDPOINTS} webhook endpoints. Delete one that is not needed any longer.")
    return made


async def change_endpoint(caller: Caller, endpoint_id: str, body: Any) -> Endpoint:
    """Replace members of an endpoint. Raises ValidationFailed, WebhookEndpointNotFound."""
    asked = parsed(EndpointChange, body)
    if asked.url is not None:
        check_url(caller, asked.url, "/url")
    members: dict[str, Any] = asked.model_dump(exclude_none=True, exclude={"disabled"})
    if asked.disabled is not None:
        members["disabled_reason"] = "It was disabled by request." if asked.disabled else None
    return await caller.store.webhooks.change_endpoint(caller.tenant, endpoint_id, members)


async def delete_endpoint(caller: Caller, endpoint_id: str) -> None:
    """Forget an endpoint; what is on its way to it is given up. Raises WebhookEndpointNotFound."""
    await caller.store.webhooks.delete_endpoint(caller.tenant, endpoint_id)


async def rotate_endpoint(caller: Caller, endpoint_id: str, body: Any) -> Endpoint:
    """Give an endpoint another secret; the old one signs too for a while. Raises ValidationFailed, WebhookEndpointNotFound."""
    asked = parsed(Rotation, {} if body is None else body)
    return await caller.store.webhooks.rotate_endpoint(caller.tenant, endpoint_id, asked.secret or new_secret(), asked.overlap)


async def test_endpoint(caller: Caller, endpoint_id: str) -> Delivery:
    """Send an endpoint a message of type `webhook.test`. Raises WebhookEndpointNotFound."""
    fresh = f"msg_{secrets.token_hex(16)}"
    await caller.store.webhooks.test(caller.tenant, endpoint_id, fresh)
    return await delivery(caller, fresh)


async def own_secret(caller: Caller) -> str:
    """The secret that signs the webhooks of jobs that bring none; made on first need."""
    return await caller.store.webhooks.secret(caller.tenant, new_secret())


async def rotate_own_secret(caller: Caller, body: Any) -> str:
    """Replace it; the old one signs too for a while. Raises ValidationFailed."""
    asked = parsed(Rotation, {} if body is None else body)
    await own_secret(caller)
    secret = asked.secret or new_secret()
    await caller.store.webhooks.rotate_secret(caller.tenant, secret, asked.overlap)
    return secret


async def deliveries(
    caller: Caller, filters: Mapping[str, str], *, cursor: tuple[str, str] | None, limit: int
) -> tuple[list[Delivery], str | None]:
    """A page of the ledger, newest first, and the cursor of the next one; None: it was the last.

    At most 2,000 are looked at, so a page may be short while the cursor goes on.
    """
    found: list[Delivery] = []
    for _ in range(_PIECES):
        page, cursor = await caller.store.webhooks.deliveries(caller.tenant, cursor=cursor, look_at=min(100, limit), filters=filters)
        found += page
        if len(found) > limit:
            last = found[limit - 1]
            return found[:limit], make_cursor(str(last.created), last.id)
        if cursor is None or len(found) == limit:
            break
    return found, make_cursor(*cursor) if cursor else None


async def delivery(caller: Caller, delivery_id: str) -> Delivery:
    """One delivery. Raises WebhookDeliveryNotFound."""
    return await caller.store.webhooks.delivery(caller.tenant, delivery_id)


async def redeliver(caller: Caller, delivery_id: str) -> Delivery:
    """Send a message again, at once and with the same id; its schedule begins anew.

    Raises:
        WebhookDeliveryNotFound
        JobGone: the job it is about is no longer there.
    """
    await caller.store.webhooks.redeliver(caller.tenant, delivery_id)
    return await delivery(caller, delivery_id)


def batch_message(due: Due, batch: BatchRecord, base: str) -> bytes:
    """The body of a webhook about a batch: its `data` is the batch as GET shows it."""
    return _message(due, batch_view(batch, base))


def message(due: Due, job: JobRecord | None, base: str) -> bytes:
    """The body of a webhook: `type`, `timestamp`, `data`.

    For an end, `data` is the job as GET shows it; an output that would make the message larger than `MOST_BYTES` is left out,
    as `output_omitted` says. For what happened on the way, it is what was true then, without an output.
    """
    if job is None:
        return _message(due, {"message": "This is a test. The endpoint is set up well if it answers with 2xx."})
    if due.data:
        return _message(due, _then(due, job, base))
    # Every job that succeeded has an output: one that is not here is too large (see `Records.read`), or not kept any longer.
    omitted = job.output is None and job.status is Status.SUCCEEDED
    whole = _message(due, wire.JobMessage.of(job, base, output_omitted=omitted))
    if len(whole) <= MOST_BYTES or job.output is None:
        return whole
    return _message(due, wire.JobMessage.of(replace(job, output=None), base, output_omitted=True))


def _message(due: Due, data: wire.Answer | dict[str, Any]) -> bytes:
    return wire.encode({"type": due.type, "timestamp": rfc3339(due.created), "data": data})


def _then(due: Due, job: JobRecord, base: str) -> dict[str, Any]:
    held, urls = orjson.loads(due.data or b"{}"), wire.JobUrls.of(job.id, base)
    error = held.get("error")
    return {
        "id": job.id,
        "model": job.model,
        "status": held["status"],
        "attempt": held["attempt"],
        "next_attempt_at": rfc3339(held.get("next_attempt_at")),
        "error": None if error is None else wire.JobProblem.of(error, urls.self),
        "tags": Raw(job.tags or b"[]"),
        "metadata": Raw(job.metadata or b"{}"),
        "urls": urls,
    }


def endpoint_view(held: Endpoint, *, secret: bool = False) -> wire.Endpoint:
    """An endpoint as callers see it."""
    return wire.Endpoint(
        id=held.id, url=held.url, events=list(held.events), description=held.description,
        disabled=held.disabled_reason is not None, disabled_reason=held.disabled_reason,
        created_at=rfc3339(held.created), secret=held.secret if secret else UNSET,
    )  # fmt: skip


def delivery_view(held: Delivery) -> wire.Delivery:
    """A delivery as callers see it."""
    about_batch = held.job is not None and is_batch_id(held.job)
    return wire.Delivery(
        id=held.id, type=held.type, job=None if about_batch else held.job, batch=held.job if about_batch else None,
        endpoint=held.endpoint, url=held.url, status=held.status, reason=held.reason,
        created_at=rfc3339(held.created), finished_at=rfc3339(held.finished), next_attempt_at=rfc3339(held.due),
        tries=[wire.DeliveryTry(rfc3339(each.at), each.status, each.error, each.seconds) for each in held.tries],
    )  # fmt: skip
