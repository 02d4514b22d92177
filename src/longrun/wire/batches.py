"""Batches."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, UnsetType

from longrun.wire.base import Answer, Json, Members, Texts, Time, about
from longrun.wire.jobs import NEXT_PAGE, Policy, Webhook
from longrun.wire.problems import JobProblem

#: The last two are ends.
BatchStatus = Literal["accepting", "running", "canceling", "completed", "canceled"]


class BatchCounts(Answer):
    """Items; `pending` have not ended."""

    total: int
    pending: int
    succeeded: int
    failed: int
    canceled: int
    expired: int


class BatchUrls(Answer):
    """Where to go on."""

    self: str
    results: str
    cancel: str


class Batch(Answer):
    """Many jobs of one model that were submitted together."""

    id: Annotated[str, about("`batch_` and 32 hexadecimal digits")]
    model: str
    status: Annotated[BatchStatus, about("treat one that you do not know as unfinished")]
    terminal: Annotated[bool, about("whether all items have ended")]
    version: Annotated[int, about("moves on with whatever becomes of an item; also the ETag")]
    priority: int
    counts: BatchCounts
    progress: Annotated[float, about("share of the items that have ended, 0 to 1")]
    created_at: Time
    finished_at: Time | None
    expires_at: Time | None
    tags: Texts
    metadata: Members
    policy: Policy
    webhook: Webhook | None
    urls: BatchUrls


class BatchPage(Answer):
    """Batches, newest first."""

    batches: list[Batch]
    next: Annotated[str | None, NEXT_PAGE]


class BatchResult(Answer):
    """One line of the results."""

    index: Annotated[int, about("place of the input, from 0")]
    id: Annotated[str, about("of the item's job")]
    status: Annotated[str, about("of the job; `pending`: it is none yet; `gone`: deleted or expired")]
    output: Json | UnsetType = UNSET
    partial: bool | UnsetType = UNSET
    error: JobProblem | UnsetType = UNSET
