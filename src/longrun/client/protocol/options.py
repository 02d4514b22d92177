"""The options of a submit."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from longrun.client.http.steps import Json


class BatchOptions(TypedDict, total=False):
    """Options of a batch; the model and the server decide what is left out."""

    priority: int  #: 0 to 9, 9 the most urgent
    tags: Sequence[str]  #: to list jobs by
    metadata: dict[str, Any]  #: given back with the job
    policy: dict[str, Any]  #: limits for the job, or each job of the batch, such as `{"timeout": 60, "max_attempts": 3}`
    webhook: Any  #: who is called at the end
    #: The same key with the same input is the same job, also days later. Without one, every submit has a fresh key of its own.
    idempotency_key: str | None


class Options(BatchOptions, total=False):
    """Options of a submit; the model and the server decide what is left out."""

    delay: float  #: seconds until the job is queued


def split_options(options: Mapping[str, Any], known: frozenset[str]) -> tuple[Json, dict[str, str]]:
    """The members of the JSON, and the header with the idempotency key: the caller's, or a fresh one.

    Raises:
        TypeError: an option is none of the known ones.
    """
    unknown = set(options) - known
    if unknown:
        raise TypeError(f"there is no option {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    members = {name: value for name, value in options.items() if name != "idempotency_key" and value is not None}
    return members, {"Idempotency-Key": options.get("idempotency_key") or uuid.uuid4().hex}
