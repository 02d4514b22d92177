"""Models, and what operators look at."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from longrun.wire.base import Answer, Json, Members, about
from longrun.wire.jobs import Policy


class Model(Answer):
    """What callers may know of a model: schemas, limits, and how it is served."""

    name: str
    title: str
    description: str
    queue: str
    streams: bool
    batched: bool
    input_schema: Members
    output_schema: Annotated[Json, Meta(extra_json_schema={"type": ["object", "boolean"]})]
    policy: Policy
    limits: dict[str, int]
    options: dict[str, Any]
    urls: dict[str, str]


class ModelList(Answer):
    """Models by name."""

    models: list[Model]


class Lane(Answer):
    """What waits for one model of a queue."""

    model: str
    queued: int
    by_priority: dict[str, int]
    oldest_seconds: float | None


class Queue(Answer):
    """What waits in a queue."""

    queue: str
    queued: int
    oldest_seconds: float | None
    models: list[Lane]


class QueueList(Answer):
    """How much waits where."""

    queues: list[Queue]


class WorkerList(Answer):
    """What the workers announce."""

    workers: list[Members]


class LaneBatches(Answer):
    """Batches of the workers that are there now, since these started."""

    count: int
    mean_size: float
    mean_wait_s: float | None


class ModelStats(Answer):
    """How many jobs of a model have ended, and the seconds that their attempts took, since the store was made."""

    model: str
    succeeded: int
    failed: int
    canceled: int
    expired: int
    queue_s: Annotated[float, about("from their queueing to the claim by a worker")]
    wait_s: Annotated[float, about("from the claim until the model's code began")]
    run_s: Annotated[float, about("in the model's code")]
    store_s: Annotated[float, about("the rest, until the store had the outcome")]
    batches: LaneBatches | None


class Stats(Answer):
    """Counts and times per model."""

    models: list[ModelStats]


class Scale(Answer):
    """How much there is to do in a queue: `demand` = waiting and running jobs."""

    queue: str
    demand: int
    queued: int
    running: int
    oldest_seconds: float | None
    workers: int


class RedrivenJob(Answer):
    """A dead letter, and the job that it became."""

    id: str
    job_id: str


class SkippedJob(Answer):
    """A dead letter that was left as it is, and the code of the reason."""

    id: str
    code: str


class Redriven(Answer):
    """What a redrive did."""

    redriven: list[RedrivenJob]
    skipped: list[SkippedJob]
    left: Annotated[int, about("dead letters that are left")]
    next: Annotated[str | None, about("`cursor` to go on with; null: all that matched were handled")]


class Live(Answer):
    """This process answers."""

    live: bool


class Ready(Answer):
    """Whether jobs may be accepted, and what was looked at."""

    ready: bool
    checks: dict[str, Any]
    workers: int | UnsetType = UNSET
