"""Events of a job."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw

from longrun.clock import rfc3339
from longrun.jobs import events
from longrun.wire.base import Answer, Members, Time, about, encode


class Event(Answer):
    """One entry of a job's log. `started` of a later attempt means: drop the output of the earlier one."""

    seq: int
    attempt: int
    at: Time
    type: Annotated[str, Meta(extra_json_schema={"enum": sorted(events.TYPES)})]
    data: Members


def event_view(event: events.Event) -> Event:
    """An event as callers see it; its data must be theirs already (`service.watch`)."""
    return Event(event.seq, event.attempt, rfc3339(event.at), event.type, Raw(event.data))


def event_json(event: events.Event) -> bytes:
    """The same as JSON."""
    return encode(event_view(event))


class StreamedEvent(Answer, forbid_unknown_fields=False):
    """One event of a stream: before 3.2, OpenAPI has the schema of a stream describe each of its events."""

    id: Annotated[str, about("the event's seq")]
    data: Annotated[str, about("JSON of an Event")]


class EventPage(Answer):
    """Events up to now."""

    events: list[Event]
    next: Annotated[int | None, about("`after` to go on with; null: the job has ended, and this was the rest")]
    terminal: bool
