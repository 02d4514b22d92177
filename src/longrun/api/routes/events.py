"""GET /jobs/{id}/events, and the same over a WebSocket."""

from __future__ import annotations

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from longrun import wire
from longrun.api.http.answers import json_response, no_content
from longrun.api.http.parameters import Header, Query, first, wants_page, whole
from longrun.api.http.routing import Answer, Routes, gives
from longrun.api.problems import problem_response, refuse, with_loss
from longrun.api.resources import caller_of
from longrun.api.streams.sse import EventStream
from longrun.api.streams.websocket import EventSocket
from longrun.errors import Problem, UpgradeRequired
from longrun.jobs import events
from longrun.jobs.states import TERMINAL
from longrun.service import watch
from longrun.store.records import EventPage

#: No log is as long; larger numbers would not survive the store's arithmetic.
_MAX_SEQ = 10**12
_seq = whole("[0-9]{1,100}", "must be a whole number of at least 0", None)


def _types(text: str | None) -> frozenset[str]:
    if text is None:
        return events.TYPES
    named = frozenset(part.strip() for part in text.split(",") if part.strip())
    if not named or not named <= events.TYPES:
        raise ValueError(f"must be a comma-separated list of {', '.join(sorted(events.TYPES))}")
    return named


AFTER = Query("after", "The last seq that the caller has.", _seq)
TYPES = Query("types", "Comma-separated event types.", _types)
LAST_EVENT_ID = Header("Last-Event-ID", "As `after`; wins over it.", lambda values: _seq((first(values) or "").strip() or None))

_GONE = (404, 410)
_ANSWERS = {200: gives(wire.EventPage, stream=wire.StreamedEvent), 204: Answer("Ended, and nothing is left.")}
routes = Routes("jobs")


def seen(request: HTTPConnection) -> int:
    """The seq after which events are wanted: `Last-Event-ID` before `?after=`, 0 without both. Raises ValidationFailed."""
    last = LAST_EVENT_ID.of(request)
    return min((AFTER.of(request) if last is None else last) or 0, _MAX_SEQ)


@routes("GET", "/jobs/{job_id}/events", _ANSWERS, (*_GONE, 409, 422), (AFTER, TYPES, LAST_EVENT_ID))
async def get_events(request: Request) -> Response:
    """Follow a job."""
    caller, job_id = caller_of(request), request.path_params["job_id"]
    types, after = TYPES.of(request), seen(request)
    # Read before the stream is opened: with its first byte the status is said.
    if wants_page(request.headers.get("accept", "")):
        page = await watch.events(caller, job_id, after)
        return json_response(page_view(page, after, types))
    page = await watch.events(caller, job_id, after, limit=1)
    if page.status in TERMINAL and after >= page.latest:
        return no_content()
    return EventStream(watch.follow(caller, job_id, after), types)


@routes("GET", "/jobs/{job_id}/ws", {101: Answer("The handshake of a WebSocket is done.")}, (426, *_GONE, 409, 422), (AFTER, TYPES))
async def open_socket(request: Request) -> Response:
    """Follow a job over a WebSocket.

    Open it as a WebSocket: the events of `/events`, a text frame each. The client may send `{"cancel": true}`, and nothing else.
    """
    # OpenAPI knows no WebSocket: what can be said of one is how its handshake is answered.
    detail = "This is a WebSocket. Open it with a WebSocket client, or read the same events at /events."
    return problem_response(
        UpgradeRequired(detail), request.scope, {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    )


async def serve_socket(socket: WebSocket) -> None:
    """The events as text frames; refused with a problem before the handshake."""
    try:
        caller, job_id = caller_of(socket), socket.path_params["job_id"]
        types, after = TYPES.of(socket), seen(socket)
        await watch.events(caller, job_id, after, limit=1)
    except Problem as problem:
        await refuse(with_loss(problem, socket), socket.scope, socket.receive, socket.send)
        return
    await EventSocket(socket, caller, job_id, after, types).serve()


def page_view(page: EventPage, after: int, types: frozenset[str]) -> wire.EventPage:
    """A page of events as callers see it."""
    reached = page.events[-1].seq if page.events else after
    terminal = page.status in TERMINAL
    shown = [wire.event_view(event) for event in page.events if event.type in types]
    return wire.EventPage(shown, None if terminal and reached >= page.latest else reached, terminal)
