"""Events as server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, cast

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Message

from longrun.jobs.events import TYPES, Event

HEARTBEAT = 15
#: Milliseconds after which a browser connects again.
RETRY = 2000
#: Not line breaks for the standard, but for Python's `str.splitlines`, and so for many parsers (httpx's `iter_lines` among them): U+2028,
#: U+2029, U+0085. In JSON text they stand only inside strings; the others it knows are control characters, never written raw.
_NO_LINE_BREAKS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
#: Seconds until a stream that was to end is cut: its reader takes nothing.
_PATIENCE = 3


def frame(event: Event) -> bytes:
    """One event: only `id` and `data`.

    A named event would not reach `onmessage`, and one named `error` would collide with the browser's own.
    """
    data = event.to_json()
    if b"\n" in data or b"\r" in data:
        # Between the tokens of JSON text a line break is a space, and inside a string there is none.
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    for character, escape in _NO_LINE_BREAKS:
        data = data.replace(character, escape)
    return b"id: %d\ndata: %b\n\n" % (event.seq, data)


async def frames(events: AsyncIterator[Event], types: frozenset[str] = TYPES) -> AsyncIterator[bytes]:
    """The stream: a hint when to connect again, then the events of these types."""
    # No empty line after it, nor after a heartbeat: httpx-sse takes that for an event without data, and its users' `json()` fails.
    yield b"retry: %d\n" % RETRY
    async for event in events:
        if event.type in types:
            yield frame(event)


class _Heartbeat(ServerSentEvent):
    """A comment alone."""

    def encode(self) -> bytes:
        return b":\n"


class _Farewell:
    """The event that sse-starlette sets when it sees that the server stops: also where the server is another application's."""

    def __init__(self, dismiss: Callable[[], None]) -> None:
        self.set = dismiss


def stream_response(
    events: AsyncIterator[Event],
    types: frozenset[str] = TYPES,
    headers: Mapping[str, str] | None = None,
    *,
    dismiss: Callable[[], None] = lambda: None,
    on_leaving: Callable[[], Awaitable[None]] | None = None,
) -> EventSourceResponse:
    """The open stream; it ends when `events` end, when the caller goes away, or when the server stops.

    Args:
        events: what to tell.
        types: the types among them that the caller wants.
        headers: more of them.
        on_leaving: called when the caller goes away before the end.
        dismiss: called when the server stops; must make `events` end, so that the stream ends like any other and not in the middle.
    """

    async def left(_: Message) -> None:
        if on_leaving is not None:
            await on_leaving()

    return EventSourceResponse(
        frames(events, types),
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})},
        ping=HEARTBEAT,
        sep="\n",
        client_close_handler_callable=left,
        ping_message_factory=_Heartbeat,
        shutdown_event=cast(Any, _Farewell(dismiss)),  # of an `anyio.Event` only `set` is called
        shutdown_grace_period=_PATIENCE,
    )
