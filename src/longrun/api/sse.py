"""Events as server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Message

from longrun.jobs.events import TYPES, Event

HEARTBEAT = 15
#: Milliseconds after which a browser connects again.
RETRY = 2000
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
    return b"id: %d\ndata: %b\n\n" % (event.seq, data)


async def frames(pieces: AsyncIterator[Sequence[Event]], types: frozenset[str] = TYPES) -> AsyncIterator[bytes]:
    """The stream: a hint when to connect again, then the events of these types, each piece of them in one write."""
    yield b"retry: %d\n\n" % RETRY
    async for piece in pieces:
        if data := b"".join([frame(event) for event in piece if event.type in types]):
            yield data


class _Farewell:
    """The event that sse-starlette sets when it sees that the server stops: also where the server is another application's."""

    def __init__(self, dismiss: Callable[[], None]) -> None:
        self.set = dismiss


def stream_response(
    events: AsyncIterator[Sequence[Event]],
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
        ping_message_factory=lambda: ServerSentEvent(comment="", sep="\n"),
        shutdown_event=cast(Any, _Farewell(dismiss)),  # of an `anyio.Event` only `set` is called
        shutdown_grace_period=_PATIENCE,
    )
