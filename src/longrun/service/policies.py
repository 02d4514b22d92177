"""The policy of a model's jobs, and of those that other jobs ask for."""

from __future__ import annotations

from dataclasses import replace

from longrun.jobs.policy import Policy
from longrun.models import ModelOptions
from longrun.settings import Settings

#: A step that is asked for when its parent's time is over has none; a policy has no such limit.
_LEAST = 0.001


def model_policy(options: ModelOptions, settings: Settings) -> Policy:
    """The policy of a model's jobs when a request asks for nothing."""
    plain = Policy(
        timeout=options.timeout,
        soft_timeout=options.soft_timeout,
        start_within=options.start_within,
        total_timeout=options.total_timeout,
        retain_for=settings.retention if options.retain_for is None else options.retain_for,
        delivery=options.delivery,
        max_crashes=options.max_crashes or settings.max_crashes,
    )
    retry = options.retry
    return plain if retry is None else replace(plain, max_attempts=retry.attempts, backoff=retry.backoff, max_delay=retry.max_delay)


def step_policy(policy: Policy, *limits: float | None) -> Policy:
    """The policy of a step: that of its model, with the shortest of these limits (seconds, None = no limit) of its wall time."""
    total = min((limit for limit in (policy.total_timeout, *limits) if limit is not None), default=None)
    return replace(policy, total_timeout=None if total is None else max(_LEAST, total))
