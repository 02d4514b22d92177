"""Events as server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from longrun.api.streams.disconnect import disconnected, ended_by
from longrun.api.streams.lost import LOST, error_event
from longrun.jobs.events import TYPES, Event
from longrun.wire import event_json

#: Milliseconds after which a browser connects again.
RETRY = 2000
#: Not line breaks for the standard, but for Python's `str.splitlines`, and so for many parsers (httpx's `iter_lines` among them): U+2028,
#: U+2029, U+0085. In JSON text they stand only inside strings; the others it knows are control characters, never written raw.
_NO_LINE_BREAKS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
#: Bytes that are handed to the server at once; what it cannot send yet it keeps, up to 64 KB and one of these.
_CHUNK = 16 * 1024
#: A stream that has nothing to send gives a comment, unless it said something in the last seconds. `watch.follow` gives us the occasion
#: every 10 s, so nobody hears nothing for more than 15 s.
_QUIET = 5.0
#: Without an empty line, as the hint: httpx-sse takes that for an event without data, and its users' `json()` fails.
_COMMENT = b":\n"


def frame(event: Event) -> bytes:
    """One event: only `id` and `data`.

    A named event would not reach `onmessage`, and one named `error` would collide with the browser's own.
    """
    data = event_json(event)
    if b"\n" in data or b"\r" in data:
        # Between the tokens of JSON text a line break is a space, and inside a string there is none.
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    for character, escape in _NO_LINE_BREAKS:
        data = data.replace(character, escape)
    return b"id: %d\ndata: %b\n\n" % (event.seq, data)


def chunks(piece: Sequence[Event], types: frozenset[str] = TYPES) -> Iterator[bytes]:
    """The frames of these types, joined to chunks of 16 KB or, where a frame is larger, a little more than that."""
    frames: list[bytes] = []
    size = 0
    for event in piece:
        if event.type in types:
            frames.append(frame(event))
            size += len(frames[-1])
        if size >= _CHUNK:
            yield b"".join(frames)
            frames, size = [], 0
    if frames:
        yield b"".join(frames)


class EventStream(Response):
    """An open stream; it ends when `pieces` end, when the caller goes away, or when the server stops.

    It costs a reader 17 KB less than sse-starlette's response (two tasks and no task group), which is most of what an idle reader holds.

    Args:
        pieces: the events; end by themselves when the process is about to stop, so that the stream ends like any other.
        types: the types among them that the caller wants.
        headers: more of them.
        on_leaving: called when the caller goes away before the end.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        pieces: AsyncGenerator[Sequence[Event], None],
        types: frozenset[str] = TYPES,
        headers: Mapping[str, str] | None = None,
        *,
        on_leaving: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.status_code, self.background = 200, None
        self._pieces, self._types, self._on_leaving = pieces, types, on_leaving
        # no-transform: a proxy that compresses would hold tokens back until it has a block of them.
        self.init_headers({"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the stream."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            if scope["method"] != "HEAD":
                async with ended_by(asyncio.ensure_future(disconnected(receive))):
                    await self._send_events(scope, send)
            await send({"type": "http.response.body"})
        except ClientDisconnect:
            if self._on_leaving is not None:
                await self._on_leaving()
        finally:
            await self._pieces.aclose()

    async def _send_events(self, scope: Scope, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        await send(_body(b"retry: %d\n" % RETRY))
        said = clock()
        try:
            async for piece in self._pieces:
                for data in chunks(piece, self._types):
                    await send(_body(data))
                    said = clock()
                if clock() - said > _QUIET:
                    await send(_body(_COMMENT))
                    said = clock()
        except LOST as problem:
            await send(_body(frame(error_event(problem, scope))))


def _body(data: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": True}
