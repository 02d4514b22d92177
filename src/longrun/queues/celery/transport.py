"""kombu's Redis transport with our own pop: many tickets a trip, as many as there are free slots, each noted in `doubt` by the same script.

Stock kombu pops one message a trip with BRPOP and notes it in a second command; a worker that dies in between loses it (measured: 7 of
9,000 in 20 kills). Here a worker runs `pop.lua` while it has free slots. When all lanes are empty it blocks with BRPOP on their wake
lists, which hold no jobs. A look at a lane in which no job waits costs the server next to nothing; once a second all are looked at.

Tickets do not go through kombu's and Celery's consumer: they say nothing but which job is ready, so a trip brings ids alone.
Only the worker's task channel does this (`serve_lanes`); every other one (remote control, events, `celery inspect`) behaves as in kombu.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from time import monotonic
from typing import Any, cast

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.transport.virtual import QoS as VirtualQoS
from redis.exceptions import NoScriptError, OutOfMemoryError

#: Free slots by lane, asked before each trip.
FreeSlots = Callable[[], list[tuple[str, int]]]
#: Gets tickets: lane, kombu's priority level, and id of the job, empty for a message that names none.
Take = Callable[[list[tuple[str, int, str]]], None]
#: Source and SHA-1 of `pop.lua`.
Pop = Callable[[], tuple[bytes, str]]
#: Separates a lane from its priority level in the names of lists; `store/scripts/lib.lua` writes the same.
SEPARATOR = ":"
#: Scheme of broker URLs that name this transport. An alias, because kombu takes the transport from the scheme wherever a URL is given.
SCHEME = "longrun"
TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
_LAST_ANSWER = 0.5  # seconds that a stopping worker waits for tickets that are on their way
_LOOK = 1.0  # seconds between two looks at all lanes, also those in which no job waits
# Redis refuses commands that need memory only until a script has made a write of another kind.
_BIND_WHEN_FULL = "redis.call('DEL', ARGV[1] .. ':nothing') return redis.call('SADD', ARGV[1], ARGV[2])"


class TicketQoS(VirtualQoS):  # type: ignore[misc]
    """Credit is what the worker's lanes have free, not a prefetch count: nothing is hoarded, and a reconnect cannot forget running jobs."""

    def can_consume(self) -> bool:
        """Whether tickets may be taken; a trip under way is always read to its end."""
        channel = self.channel
        if channel.free_slots is None:
            return bool(super().can_consume())
        return channel.trip == "pop" or any(free > 0 for _, free in channel.free_slots())


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel that can serve lanes."""

    sep = SEPARATOR
    do_restore = False  # a ticket that a stopping worker holds is found by its note in `doubt`
    free_slots: FreeSlots | None = None
    wake_prefix: str = ""
    private_wake: str = ""
    _hand_over: Take
    _pop: Pop
    trip: str | None = None
    _next_trip = "pop"
    _looked_at_all = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.QoS = TicketQoS

    def serve_lanes(self, free_slots: FreeSlots, take: Take, pop: Pop, wake_prefix: str, private_wake: str) -> None:
        """Take tickets by script from now on.

        Args:
            free_slots: lanes of this worker and how many more jobs each may take now.
            take: called with the tickets of a trip.
            pop: gives `pop.lua`, asked before each trip: it is another one when the format of the data was raised.
            wake_prefix: what stands before a lane in the key of its wake list.
            private_wake: key of a list by which the worker interrupts its own wait.
        """
        self.free_slots, self._hand_over = free_slots, take
        self._pop = pop
        self.wake_prefix, self.private_wake = wake_prefix, private_wake
        self._next_trip = "pop"

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except OutOfMemoryError:
            # A worker must be able to start while the store is full: what it runs is what makes room.
            member = self.sep.join([routing_key or "", pattern or "", queue or ""])
            with self.conn_or_acquire() as client:
                client.eval(_BIND_WHEN_FULL, 0, self.global_keyprefix + self.keyprefix_queue % exchange, member)

    def _refresh_bindings(self, queues: list[str]) -> None:
        try:
            super()._refresh_bindings(queues)
        except OutOfMemoryError:
            return  # they live for an hour; kombu would log this every second for as long as the store is full

    def _brpop_start(self, timeout: float | None = None) -> None:
        if self.free_slots is None:
            super()._brpop_start(timeout)
            return
        # Celery can be told to leave a queue (`control cancel_consumer`).
        lanes = [(lane, free) for lane, free in self.free_slots() if free > 0 and lane in self._active_queues]
        if not lanes:
            return
        connection = self.client.connection
        self._in_poll, self._brpop_sent_at, self.trip = connection, monotonic(), self._next_trip
        if self.trip == "pop":
            look_at_all = self._brpop_sent_at - self._looked_at_all >= _LOOK
            self._looked_at_all = self._brpop_sent_at if look_at_all else self._looked_at_all
            narrowed = () if look_at_all else ("waiting",)
            connection.send_command("EVALSHA", self._pop()[1], 0, *(value for pair in lanes for value in pair), *narrowed)
        else:
            keys = [self.wake_prefix + lane for lane, _ in lanes]
            connection.send_command("BRPOP", self.private_wake, *keys, timeout or self.brpop_timeout)

    def _brpop_read(self, **options: Any) -> Any:
        if self.free_slots is None:
            return super()._brpop_read(**options)
        trip, connection = self.trip, self.client.connection
        try:
            # The connection reads both replies; parse_response would look for callbacks of a command name we do not share.
            reply = connection.read_response()
        except NoScriptError:
            connection.send_command("SCRIPT", "LOAD", self._pop()[0])
            connection.read_response()
            return True
        except self.connection_errors:
            connection.disconnect()
            raise
        finally:
            self._in_poll, self.trip = None, None
            self._flush_brpop_reauth()
        if trip != "pop" or not reply:
            # After a wait, look; after a look that found nothing, wait. A wait ends after a second: a lost wake-up costs no more than that.
            self._next_trip = "wait" if trip == "pop" else "pop"
            return True
        self._take(reply)
        return True

    def end_trip(self) -> None:
        """Read a pop that is under way to its end, break a wait off. A pop that is not answered soon is left to its notes in `doubt`."""
        trip, connection = self.trip, self._in_poll
        if trip is None or not connection:
            return
        self.trip = self._in_poll = None
        with contextlib.suppress(*self.connection_errors, NoScriptError):
            if trip == "pop" and connection.can_read(timeout=_LAST_ANSWER):
                self._take(connection.read_response())
        connection.disconnect()

    def _take(self, reply: list[bytes]) -> None:
        parts = iter(reply)
        self._hand_over([(lane.decode(), int(level), job_id.decode()) for lane, level, job_id in zip(parts, parts, parts, strict=True)])


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """The Redis transport with our channel."""

    Channel = Channel


def task_channel(consumer: Any) -> Channel:
    """The channel on which a Celery worker's consumer takes tasks."""
    return cast(Channel, consumer.task_consumer.channel)
