"""What is tried again, when, and for how long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from longrun.client.wire import Answer, Lost

#: Statuses after which the same request may succeed: too many requests, and what servers and gateways say when they cannot serve just now.
TRY_AGAIN = frozenset({429, 502, 503, 504})
_BASE, _CAP = 0.2, 5.0  # seconds; the bound of the pause doubles with each try
_LONGEST = 60.0  # seconds that a Retry-After may ask for


@dataclass(frozen=True, slots=True)
class Rules:
    """How patient a client is.

    Args:
        url: the server, for messages.
        retry_for: seconds for which a call is tried again.
        refused_for: the same while nothing listens at the address.
        say: told once a call that it is tried again, and why.
        clock: seconds that only grow.
        dice: a number from 0 to 1.
    """

    url: str
    retry_for: float
    refused_for: float
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    dice: Callable[[], float] = random.random

    @classmethod
    def of(cls, url: str, retry_for: float, refused_for: float | None, say: Callable[[str], None] | None) -> Rules:
        """The rules of a client, from the arguments of its constructor."""
        return cls(url, retry_for, retry_for if refused_for is None else refused_for, say or (lambda _: None))


class Tries:
    """The tries of one call.

    Args:
        rules: how patient.
        until: when the caller's own time limit is over, by the rules' clock.
    """

    def __init__(self, rules: Rules, until: float | None = None) -> None:
        self._rules, self._until = rules, until
        self.doubtful = False  #: whether a try without an answer may have had its effect
        self.alive()
        self.succeeded()

    def alive(self) -> None:
        """There was a sign of life of the server: from here on the time is counted anew."""
        self._since = self._rules.clock()

    def succeeded(self) -> None:
        """A try has brought something: the next failure is a first one again."""
        self._failures, self._told = 0, False

    def pause(self, reply: Answer | Lost) -> float | None:
        """Seconds to wait before the next try; None = no further try.

        Exponential backoff with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015), but never less than what the
        server asks for with Retry-After (RFC 9110, 10.2.3), of which at most a minute is honoured.
        """
        self.doubtful = self.doubtful or is_doubtful(reply)
        if reply.hopeless if isinstance(reply, Lost) else reply.status not in TRY_AGAIN:
            return None
        refused = isinstance(reply, Lost) and reply.refused
        end = self._since + (self._rules.refused_for if refused else self._rules.retry_for)
        left = min(end, self._until if self._until is not None else end) - self._rules.clock()
        asked = 0.0 if isinstance(reply, Lost) else min(retry_after(reply.headers.get("retry-after")), _LONGEST)
        if left <= 0 or asked > left:
            return None
        ceiling = min(_CAP, _BASE * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        if not self._told:
            self._told = True
            self._rules.say(f"{self._rules.url} does not serve right now, trying again")
        return max(asked, min(self._rules.dice() * ceiling, left))


def is_doubtful(reply: Answer | Lost) -> bool:
    """Whether the request may have had its effect although no success was told."""
    if isinstance(reply, Lost):
        return not (reply.refused or reply.hopeless)
    return reply.status in (502, 504) or b'"submit-unconfirmed"' in reply.content


def retry_after(text: str | None, now: Callable[[], float] = time.time) -> float:
    """Seconds that a Retry-After header asks to wait: a number, or a date; 0 for none, or one that cannot be read."""
    if not text:
        return 0.0
    if text.strip().isascii() and text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now())
    except (ValueError, OverflowError):
        return 0.0
