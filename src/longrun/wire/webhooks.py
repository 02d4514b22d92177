"""Webhooks: endpoints, deliveries, and the messages themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, UnsetType

from longrun.jobs.states import Status
from longrun.wire.base import Answer, Members, Texts, Time, about
from longrun.wire.batches import Batch
from longrun.wire.jobs import JobMessage, JobUrls
from longrun.wire.problems import JobProblem

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


class TestText(Answer):
    """What a test says."""

    message: str


class JobMoment(Answer):
    """A job as it was when something happened on its way."""

    id: str
    model: str
    status: Status
    attempt: int
    next_attempt_at: Time | None
    error: JobProblem | None
    tags: Texts
    metadata: Members
    urls: JobUrls


class Message(Answer):
    """The body of a webhook."""

    type: str
    timestamp: Time
    data: JobMessage | JobMoment | Batch | TestText
