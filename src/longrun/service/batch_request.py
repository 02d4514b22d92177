"""What a batch may say besides its inputs, typed."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from longrun.service.request import Metadata, PolicyRequest, Tag, WebhookSecret, WebhookUrl
from longrun.wire.webhooks import BatchEvent

BATCH_EVENTS: tuple[BatchEvent, ...] = ("batch.completed",)


class BatchWebhookRequest(BaseModel):
    """Who is notified about the end of a batch."""

    model_config = ConfigDict(extra="forbid", strict=True, title="BatchWebhookRequest")

    url: WebhookUrl
    events: Annotated[list[BatchEvent], Field(min_length=1, max_length=1)] = Field(
        default_factory=lambda: list(BATCH_EVENTS), description="There is this one."
    )
    secret: WebhookSecret | None = Field(None, description="Signs it; your own secret (`GET /webhook-secret`) when not given.")


class BatchOptions(BaseModel):
    """What holds for the whole batch."""

    model_config = ConfigDict(extra="forbid", strict=True, title="BatchOptions")

    priority: Annotated[int, Field(ge=0, le=9)] = Field(5, description="0 to 9, 9 the most urgent.")
    tags: Annotated[list[Tag], Field(max_length=16)] = Field(default_factory=list, description="Of the batch and of each item.")
    metadata: Metadata = Field(default_factory=dict, description="Given back with the batch and each item; 16 KB of JSON at most.")
    webhook: BatchWebhookRequest | None = Field(None, description="Who is notified about the end of the batch.")
    policy: PolicyRequest = Field(default_factory=PolicyRequest, description="Limits of each item.")
