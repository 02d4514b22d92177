"""Whether and when a webhook is tried again: a pure decision."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

from longrun.settings import WEBHOOK_SCHEDULE

#: Seconds before each try, counted from the one before.
DELAYS = WEBHOOK_SCHEDULE
#: Longest wait that a receiver can ask for with `Retry-After`, in seconds.
LONGEST_ASKED = 86_400.0
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows a try. `disabled`: the receiver said 410 and wants no more of them; `failed`: it was the last try."""

    outcome: Literal["delivered", "retry", "disabled", "failed"]
    delay: float = 0.0  #: seconds until the next try, for `retry`
    reason: str = ""  #: why there are no more tries, for `disabled` and `failed`


def after_try(
    tries: int,
    status: int | None,
    retry_after: str | None = None,
    *,
    delays: Sequence[float] = DELAYS,
    now: Callable[[], float] = time.time,
    uniform: Callable[[float, float], float] = random.uniform,
) -> Verdict:
    """Judge a try by its answer (Standard Webhooks, "Deliverability and reliability").

    2xx is success and 410 the wish to hear no more. All else is a failure, redirects included. The wait is the schedule's, or what
    `Retry-After` of a 429 or 503 asks for if that is longer; then up to 20 % are added at random, so that what failed together does
    not come back together. It is never shortened.

    Args:
        tries: tries made, this one included; at least 1.
        status: status of the answer; None: there was none.
        retry_after: that header, seconds or an HTTP date; what cannot be read counts as absent.
        delays: seconds before each try; there are as many tries.
        now: seconds since the epoch.
        uniform: source of randomness.
    """
    if status is not None and 200 <= status < 300:
        return Verdict("delivered")
    if status == 410:
        return Verdict("disabled", reason="The receiver answered 410: it wants no more of them.")
    if tries >= len(delays):
        return Verdict("failed", reason=f"All {tries} tries have failed.")
    asked = _asked(retry_after, now()) if status in (429, 503) else 0.0
    return Verdict("retry", max(delays[tries], asked) * uniform(1.0, 1.0 + _JITTER))


def _asked(text: str | None, now: float) -> float:
    """Seconds that a `Retry-After` asks for (RFC 9110 section 10.2.3), at most a day."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_ASKED)
    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return min(max(0.0, moment.timestamp() - now), LONGEST_ASKED)
    except (ValueError, TypeError, OverflowError):
        return 0.0
