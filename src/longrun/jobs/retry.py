"""Whether and when a failed attempt is followed by another: a pure decision."""

from __future__ import annotations

import random
from collections.abc import Callable

from longrun.jobs.policy import Policy

#: Longest wait that an upstream can ask for, in seconds: 30 days, as for a caller's `delay`.
LONGEST_ASKED = 30 * 86_400.0


def retry_delay(
    policy: Policy,
    errors: int,
    *,
    retryable: bool,
    asked: float | None = None,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float | None:
    """Seconds until the next attempt, or None when the job has failed for good.

    Exponential backoff with full jitter (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Args:
        policy: the job's policy.
        errors: attempts that have ended in an error, this one included; at least 1.
        retryable: whether the model's `Retry` covers this error.
        asked: seconds that an upstream asked us to wait (`RetryAfter`); not shortened by jitter or `max_delay`, and at most
            `LONGEST_ASKED`.
        uniform: source of randomness.
    """
    if not retryable or errors >= policy.max_attempts:
        return None
    if asked is not None:
        # NaN is neither: it becomes 0.
        return min(LONGEST_ASKED, max(0.0, asked))
    ceiling = min(policy.max_delay, policy.backoff * 2.0 ** min(errors - 1, 60))
    return uniform(0.0, ceiling)
