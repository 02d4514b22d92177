"""Models."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from longrun.wire.base import Answer, Json, Members
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
