"""How many messages may be on their way to one host: many to one that answers at once, few to one that lets us wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

#: Messages on their way at once: in all; to one host; and to one that is slow, which must not hold the others up.
MOST, MOST_TO_ONE, MOST_TO_SLOW = 64, 32, 4
#: Seconds of waiting that make a host slow, and for how long it then counts as that.
SLOW, MEMORY = 1.0, 60.0
#: Seconds until a message for a slow host is looked at again, at least.
_LATER = 2.0

Admission = Literal["go", "crowded", "slow"]


@dataclass(slots=True)
class _Host:
    begun: list[float] = field(default_factory=list)  #: when each of the tries that are on their way began, oldest first
    slow_until: float = 0.0
    turn: float = 0.0  #: when the message that was last made to wait may have its turn


class Hosts:
    """What is on its way where.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: dict[str, _Host] = {}

    def admit(self, name: str) -> Admission:
        """Whether a message may go to a host now. `crowded`: as soon as another one is through; `slow`: much later."""
        host, now = self._hosts.get(name), self._clock()
        if host is None:
            return "go"
        if host.slow_until > now or (host.begun and now - host.begun[0] >= SLOW):
            return "go" if len(host.begun) < MOST_TO_SLOW else "slow"
        return "go" if len(host.begun) < MOST_TO_ONE else "crowded"

    def wait(self, name: str) -> float:
        """Seconds after which a message that was not admitted to a slow host is to be looked at again.

        Each further one waits a little longer, up to a minute, or a long queue would be taken and given back all the time.
        """
        host, now = self._hosts[name], self._clock()
        host.turn = min(max(host.turn, now + _LATER) + SLOW / MOST_TO_SLOW, now + MEMORY)
        return host.turn - now

    def begin(self, name: str) -> float:
        """A message goes to a host; what is returned is for `end`."""
        now = self._clock()
        self._hosts.setdefault(name, _Host()).begun.append(now)
        return now

    def end(self, name: str, begun: float) -> None:
        """The message that began then has arrived, or not."""
        host, now = self._hosts[name], self._clock()
        host.begun.remove(begun)
        if now - begun >= SLOW:
            host.slow_until = now + MEMORY
        for other in [other for other, each in self._hosts.items() if not each.begun and each.slow_until <= now]:
            del self._hosts[other]
