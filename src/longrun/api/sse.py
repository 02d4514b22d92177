"""Events as server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from sse_starlette import EventSourceResponse, ServerSentEvent

from longrun.jobs.events import TYPES, Event

HEARTBEAT = 15
#: Milliseconds after which a browser connects again.
RETRY = 2000


def frame(event: Event) -> bytes:
    """One event: only `id` and `data`.

    A named event would not reach `onmessage`, and one named `error` would collide with the browser's own.
    """
    data = event.to_json()
    if b"\n" in data or b"\r" in data:
        # Between the tokens of JSON text a line break is a space, and inside a string there is none.
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"id: %d\ndata: %b\n\n" % (event.seq, data)


async def frames(events: AsyncIterator[Event], types: frozenset[str] = TYPES) -> AsyncIterator[bytes]:
    """The stream: a hint when to connect again, then the events of these types."""
    yield b"retry: %d\n\n" % RETRY
    async for event in events:
        if event.type in types:
            yield frame(event)


def stream_response(
    events: AsyncIterator[Event], types: frozenset[str] = TYPES, headers: Mapping[str, str] | None = None
) -> EventSourceResponse:
    """The open stream; it ends when `events` end, when the caller goes away, or when the server stops."""
    return EventSourceResponse(
        frames(events, types),
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})},
        ping=HEARTBEAT,
        sep="\n",
        ping_message_factory=lambda: ServerSentEvent(comment="", sep="\n"),
    )
