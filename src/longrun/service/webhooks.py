"""Webhooks: registered endpoints, secrets, the ledger of deliveries, and what a message says."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from longrun.clock import is_batch_id, rfc3339
from longrun.errors import QuotaExceeded, ValidationFailed
from longrun.jobs.failure import problem_of
from longrun.jobs.record import JobRecord
from longrun.jobs.states import Status
from longrun.jobs.view import job_urls, job_view
from longrun.service.batch_view import batch_view
from longrun.service.parts import Parts
from longrun.service.read import make_cursor
from longrun.service.request import ENDS, EndpointEvent, WebhookSecret, WebhookUrl, parsed
from longrun.store.batches import BatchRecord
from longrun.store.webhooks import MOST_ENDPOINTS, Delivery, Due, Endpoint
from longrun.webhooks.guard import Networks, Refused
from longrun.webhooks.guard import check_url as judge_url
from longrun.webhooks.signing import new_secret

DAY = 86_400.0
#: Largest message; an output that would make it larger is left out.
MOST_BYTES = 20_000
_PIECES = 20


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class EndpointRequest(_Body):
    """A receiver to register."""

    url: WebhookUrl
    events: Annotated[list[EndpointEvent], Field(min_length=1)] = Field(
        default_factory=lambda: list[EndpointEvent](ENDS), description="What is told; the four ends when not given."
    )
    description: Annotated[str, Field(max_length=200)] = Field("", description="For people.")
    secret: WebhookSecret | None = Field(None, description="Signs its messages; made when not given.")


class EndpointChange(_Body):
    """Members of an endpoint to be replaced."""

    url: WebhookUrl | None = Field(None)
    events: Annotated[list[EndpointEvent], Field(min_length=1)] | None = Field(None, description="What is told.")
    description: Annotated[str, Field(max_length=200)] | None = Field(None, description="For people.")
    disabled: bool | None = Field(None, description="true: it gets nothing; false: it does again.")


class Rotation(_Body):
    """A secret to be replaced."""

    overlap: Annotated[float, Field(ge=0, le=30 * DAY)] = Field(DAY, description="Seconds for which the secret before it signs too.")
    secret: WebhookSecret | None = Field(None, description="The new one; made when not given.")


@dataclass(frozen=True, slots=True)
class Ledger:
    """Deliveries, newest first; `cursor` leads to the next ones, None = there are none."""

    deliveries: list[Delivery]
    cursor: str | None


def check_url(parts: Parts, url: str, where: str) -> None:
    """Judge a URL by what is written in it; nothing is resolved. Raises ValidationFailed with the pointer `where`."""
    try:
        judge_url(url, Networks(parts.settings.allowed_networks))
    except Refused as error:
        raise ValidationFailed(str(error), errors=[{"pointer": where, "detail": str(error)}]) from None


async def endpoints(parts: Parts, tenant: str) -> list[Endpoint]:
    """The tenant's endpoints, oldest first."""
    return await parts.store.webhooks.endpoints(tenant)


async def endpoint(parts: Parts, tenant: str, endpoint_id: str) -> Endpoint:
    """One endpoint. Raises WebhookEndpointNotFound."""
    return await parts.store.webhooks.endpoint(tenant, endpoint_id)


async def add_endpoint(parts: Parts, tenant: str, body: Any) -> Endpoint:
    """Register a receiver.

    Raises:
        ValidationFailed
        QuotaExceeded: the tenant has as many as it may have.
    """
    asked = parsed(EndpointRequest, body)
    check_url(parts, asked.url, "/url")
    members = asked.model_dump() | {"secret": asked.secret or new_secret()}
    made = await parts.store.webhooks.add_endpoint(tenant, f"we_{secrets.token_hex(16)}", members)
    if made is None:
        raise QuotaExceeded(f"There are {MOST_ENDPOINTS} webhook endpoints. Delete one that is not needed any longer.")
    return made


async def change_endpoint(parts: Parts, tenant: str, endpoint_id: str, body: Any) -> Endpoint:
    """Replace members of an endpoint. Raises ValidationFailed, WebhookEndpointNotFound."""
    asked = parsed(EndpointChange, body)
    if asked.url is not None:
        check_url(parts, asked.url, "/url")
    members: dict[str, Any] = asked.model_dump(exclude_none=True, exclude={"disabled"})
    if asked.disabled is not None:
        members["disabled_reason"] = "It was disabled by request." if asked.disabled else None
    return await parts.store.webhooks.change_endpoint(tenant, endpoint_id, members)


async def delete_endpoint(parts: Parts, tenant: str, endpoint_id: str) -> None:
    """Forget an endpoint; what is on its way to it is given up. Raises WebhookEndpointNotFound."""
    await parts.store.webhooks.delete_endpoint(tenant, endpoint_id)


async def rotate_endpoint(parts: Parts, tenant: str, endpoint_id: str, body: Any) -> Endpoint:
    """Give an endpoint another secret; the old one signs too for a while. Raises ValidationFailed, WebhookEndpointNotFound."""
    asked = parsed(Rotation, {} if body is None else body)
    return await parts.store.webhooks.rotate_endpoint(tenant, endpoint_id, asked.secret or new_secret(), asked.overlap)


async def test_endpoint(parts: Parts, tenant: str, endpoint_id: str) -> Delivery:
    """Send an endpoint a message of type `webhook.test`. Raises WebhookEndpointNotFound."""
    fresh = f"msg_{secrets.token_hex(16)}"
    await parts.store.webhooks.test(tenant, endpoint_id, fresh)
    return await delivery(parts, tenant, fresh)


async def own_secret(parts: Parts, tenant: str) -> str:
    """The secret that signs the webhooks of jobs that bring none; made on first need."""
    return await parts.store.webhooks.secret(tenant, new_secret())


async def rotate_own_secret(parts: Parts, tenant: str, body: Any) -> str:
    """Replace it; the old one signs too for a while. Raises ValidationFailed."""
    asked = parsed(Rotation, {} if body is None else body)
    await own_secret(parts, tenant)
    secret = asked.secret or new_secret()
    await parts.store.webhooks.rotate_secret(tenant, secret, asked.overlap)
    return secret


async def deliveries(parts: Parts, tenant: str, filters: Mapping[str, str], *, cursor: tuple[str, str] | None, limit: int) -> Ledger:
    """A page of the ledger, newest first. At most 2,000 are looked at, so a page may be short while `cursor` goes on."""
    found: list[Delivery] = []
    for _ in range(_PIECES):
        page, cursor = await parts.store.webhooks.deliveries(tenant, cursor=cursor, look_at=min(100, limit), filters=filters)
        found += page
        if len(found) > limit:
            last = found[limit - 1]
            return Ledger(found[:limit], make_cursor(str(last.created), last.id))
        if cursor is None or len(found) == limit:
            break
    return Ledger(found, make_cursor(*cursor) if cursor else None)


async def delivery(parts: Parts, tenant: str, delivery_id: str) -> Delivery:
    """One delivery. Raises WebhookDeliveryNotFound."""
    return await parts.store.webhooks.delivery(tenant, delivery_id)


async def redeliver(parts: Parts, tenant: str, delivery_id: str) -> Delivery:
    """Send a message again, at once and with the same id; its schedule begins anew.

    Raises:
        WebhookDeliveryNotFound
        JobGone: the job it tells of is no longer there.
    """
    await parts.store.webhooks.redeliver(tenant, delivery_id)
    return await delivery(parts, tenant, delivery_id)


def batch_message(due: Due, batch: BatchRecord, base: str) -> bytes:
    """The body of a webhook about a batch: its `data` is the batch as GET shows it."""
    return orjson.dumps({"type": due.type, "timestamp": rfc3339(due.created), "data": batch_view(batch, base)})


def message(due: Due, job: JobRecord | None, base: str) -> bytes:
    """The body of a webhook: `type`, `timestamp`, `data`.

    For an end, `data` is the job as GET shows it; an output that would make the message larger than `MOST_BYTES` is left out, which
    `output_omitted` tells. For what happened on the way, it is what was true then, without an output.
    """
    body: dict[str, Any] = {"type": due.type, "timestamp": rfc3339(due.created)}
    if job is None:
        return orjson.dumps(body | {"data": {"message": "This is a test. The endpoint is set up well if it answers with 2xx."}})
    if due.data:
        return orjson.dumps(body | {"data": _then(due, job, base)})
    view = job_view(job, base)
    # Every job that succeeded has an output: one that is not here is too large (see `Records.read`), or not kept any longer.
    omitted = job.output is None and job.status is Status.SUCCEEDED
    whole = orjson.dumps(body | {"data": view | {"output_omitted": omitted}})
    if len(whole) <= MOST_BYTES or job.output is None:
        return whole
    return orjson.dumps(body | {"data": view | {"output": None, "output_omitted": True}})


def _then(due: Due, job: JobRecord, base: str) -> dict[str, Any]:
    held, urls = orjson.loads(due.data), job_urls(job.id, base)
    error, again = held.get("error"), held.get("next_attempt_at")
    return {
        "id": job.id,
        "model": job.model,
        "status": held["status"],
        "attempt": held["attempt"],
        "next_attempt_at": rfc3339(again),
        "error": None if error is None else problem_of(error, urls["self"]),
        "tags": orjson.Fragment(job.tags or b"[]"),
        "metadata": orjson.Fragment(job.metadata or b"{}"),
        "urls": urls,
    }


def endpoint_view(held: Endpoint, *, secret: bool = False) -> dict[str, Any]:
    """The JSON body of an endpoint."""
    view: dict[str, Any] = {
        "id": held.id,
        "url": held.url,
        "events": list(held.events),
        "description": held.description,
        "disabled": held.disabled_reason is not None,
        "disabled_reason": held.disabled_reason,
        "created_at": rfc3339(held.created),
    }
    return view | ({"secret": held.secret} if secret else {})


def delivery_view(held: Delivery) -> dict[str, Any]:
    """The JSON body of a delivery."""
    about_batch = held.job is not None and is_batch_id(held.job)
    return {
        "id": held.id,
        "type": held.type,
        "job": None if about_batch else held.job,
        "batch": held.job if about_batch else None,
        "endpoint": held.endpoint,
        "url": held.url,
        "status": held.status,
        "reason": held.reason,
        "created_at": rfc3339(held.created),
        "finished_at": rfc3339(held.finished),
        "next_attempt_at": rfc3339(held.due),
        "tries": [
            {"at": rfc3339(each.at), "status_code": each.status, "error": each.error, "seconds": each.seconds} for each in held.tries
        ],
    }
