"""Webhooks: endpoints, deliveries, and the messages themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, UnsetType

from longrun.wire.base import Answer, Time, about

WebhookEvent = Literal["job.started", "job.retrying", "job.succeeded", "job.failed", "job.canceled", "job.expired"]
BatchEvent = Literal["batch.completed"]
EndpointEvent = Literal[WebhookEvent, BatchEvent]
DeliveryStatus = Literal["pending", "delivered", "failed"]


class Endpoint(Answer):
    """A registered receiver."""

    id: str
    url: str
    events: list[EndpointEvent]
    description: str
    disabled: bool
    disabled_reason: str | None
    created_at: Time
    secret: Annotated[str | UnsetType, about("only in the answer that made the endpoint")] = UNSET


class EndpointList(Answer):
    """Endpoints, oldest first."""

    endpoints: list[Endpoint]


class Secret(Answer):
    """What signs messages."""

    secret: str


class DeliveryTry(Answer):
    """One try of a delivery."""

    at: Time
    status_code: int | None
    error: str | None
    seconds: float


class Delivery(Answer):
    """One message to one receiver, and every try so far."""

    id: Annotated[str, about("the `webhook-id`, the same on every try")]
    type: str
    job: Annotated[str | None, about("null: a test, or about a batch")]
    batch: Annotated[str | None, about("the batch that it tells of")]
    endpoint: Annotated[str | None, about("null: the job's own webhook")]
    url: str
    status: DeliveryStatus
    reason: Annotated[str | None, about("why it was given up")]
    created_at: Time
    finished_at: Time | None
    next_attempt_at: Time | None
    tries: list[DeliveryTry]


class DeliveryPage(Answer):
    """Deliveries, newest first."""

    deliveries: list[Delivery]
    next: str | None
