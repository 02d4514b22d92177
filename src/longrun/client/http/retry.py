"""What is tried again, when, and for how long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from longrun.client.http.steps import Answer, Flow, Json, Lost, Sleep
from longrun.errors import ApiError, CallError, Unreachable

#: Statuses after which the same request may succeed: too many requests, and what servers and gateways say when they cannot serve just now.
TRY_AGAIN = frozenset({429, 502, 503, 504})
_BASE, _CAP = 0.2, 5.0  # seconds; the bound of the pause doubles with each try
_LONGEST = 60.0  # seconds that a Retry-After may ask for


@dataclass(frozen=True, slots=True)
class Rules:
    """For how long a client tries again.

    Args:
        url: of the server.
        retry_for: seconds for which a call is tried again.
        refused_for: the same while nothing listens at the address.
        say: called with a text, once a call, when it is tried again.
        clock: monotonic seconds.
        dice: a random number from 0 to 1.
    """

    url: str
    retry_for: float
    refused_for: float
    say: Callable[[str], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    dice: Callable[[], float] = random.random


class Tries:
    """The tries of one call.

    Args:
        rules: for how long.
        until: when the caller's own time limit is over, by the rules' clock.
    """

    def __init__(self, rules: Rules, until: float | None = None) -> None:
        self._rules, self._until = rules, until
        self.doubtful = False  #: whether a try without an answer may have had its effect
        self.alive()
        self.succeeded()

    def alive(self) -> None:
        """The server has answered something: `retry_for` counts from now on."""
        self._since = self._rules.clock()

    def succeeded(self) -> None:
        """A try has brought something: pauses are short again after the next failure."""
        self._failures, self._said = 0, False

    def wait(self, reply: Answer | Lost) -> Flow[None]:
        """Sleep until the next try. Raises ApiError, Unreachable: there is none."""
        pause = self.pause(reply)
        if pause is None:
            raise error_of(reply, self._rules.url)
        yield Sleep(pause)

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
        if not self._said:
            self._said = True
            self._rules.say(f"{self._rules.url} does not serve right now, trying again")
        return max(asked, min(self._rules.dice() * ceiling, left))


def is_doubtful(reply: Answer | Lost) -> bool:
    """Whether the request may have had its effect although no success was answered."""
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


def error_of(reply: Answer | Lost, url: str) -> CallError:
    """The exception for a call that had no success."""
    if isinstance(reply, Lost):
        return Unreachable(url, reply.reason)
    try:
        found = reply.json()
    except ValueError:
        found = None
    return no_success(reply, found if isinstance(found, dict) and "code" in found else {})


def no_success(answer: Answer, problem: Json) -> ApiError:
    """The exception for an answer: a problem, or ({}) something else, such as the page of a proxy."""
    return ApiError(answer.status, problem, url=answer.url, text=answer.content[:200].decode("utf-8", errors="replace"))
