"""The policy in force for a job: what the model allows, narrowed by what the request asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import orjson

Delivery = Literal["at_least_once", "at_most_once"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits and budgets of one job. Durations are seconds; None means no limit."""

    max_attempts: int = 1  #: attempts in all that may end in an error
    backoff: float = 1.0  #: base of the exponential backoff
    max_delay: float = 300.0  #: longest backoff
    timeout: float = 600.0  #: running time of one attempt
    soft_timeout: float | None = None  #: running time after which the model is asked to end; None: `timeout`
    start_within: float | None = None  #: the job expires when it has not started by then
    total_timeout: float | None = None  #: wall time from submit to end
    retain_for: float = 86_400.0  #: how long the finished job is kept
    delivery: Delivery = "at_least_once"
    max_crashes: int = 3  #: lost workers or dead runners before the job fails with `worker-lost`

    def to_json(self) -> bytes:
        """The policy as stored in the record."""
        return orjson.dumps(self)

    @staticmethod
    @lru_cache(maxsize=256)
    def from_json(data: bytes) -> Policy:
        """The reverse of `to_json`; members written by a newer version are left out. Most jobs have the policy of the one before."""
        known = Policy.__dataclass_fields__
        return Policy(**{name: value for name, value in orjson.loads(data).items() if name in known})


def narrow(model: Policy, asked: dict[str, Any]) -> Policy:
    """The model's policy narrowed by a request's: a request can ask for less, never for more.

    Args:
        model: what the model (and the operator) allow.
        asked: validated members of the request's `policy`.
    """
    timeout = min(asked.get("timeout") or model.timeout, model.timeout)
    soft = _smaller(asked.get("soft_timeout"), model.soft_timeout)
    return replace(
        model,
        max_attempts=min(asked.get("max_attempts") or model.max_attempts, model.max_attempts),
        backoff=min(_given(asked, "backoff", model.backoff), model.max_delay),
        timeout=timeout,
        soft_timeout=None if soft is None else min(soft, timeout),
        start_within=_smaller(asked.get("start_within"), model.start_within),
        total_timeout=_smaller(asked.get("total_timeout"), model.total_timeout),
        retain_for=min(_given(asked, "retain_for", model.retain_for), model.retain_for),
        delivery="at_most_once" if asked.get("delivery") == "at_most_once" else model.delivery,
    )


def _given(asked: dict[str, Any], name: str, default: float) -> float:
    value = asked.get(name)
    return default if value is None else float(value)


def _smaller(a: float | None, b: float | None) -> float | None:
    return min((x for x in (a, b) if x is not None), default=None)
