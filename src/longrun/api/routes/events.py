"""GET /jobs/{id}/events, and the same over a WebSocket."""

from __future__ import annotations

from functools import partial

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from longrun.api import headers as ask
from longrun.api.answers import raw_response
from longrun.api.problems import problem_response, refuse
from longrun.api.resources import caller_of
from longrun.api.streams.sse import EventStream
from longrun.api.streams.websocket import EventSocket
from longrun.errors import Problem, UpgradeRequired
from longrun.jobs.states import TERMINAL
from longrun.service import control, watch
from longrun.store.records import EventPage


async def get_events(request: Request) -> Response:
    """The event stream; 204 when the job has ended and nothing is left; a page when JSON is asked for."""
    caller, job_id, query = caller_of(request), request.path_params["job_id"], request.query_params
    types, after = ask.types(query), ask.after(query, request.headers.get("last-event-id"))
    # Read before the stream is opened: with its first byte the status is said.
    if ask.wants_page(request.headers.get("accept", "")):
        page = await watch.events(caller, job_id, after)
        return raw_response(page_body(page, after, types))
    first = await watch.events(caller, job_id, after, limit=1)
    if first.status in TERMINAL and after >= first.latest:
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    return EventStream(watch.follow(caller, job_id, after), types)


async def get_socket(request: Request) -> Response:
    """426, for whoever asks without a handshake."""
    detail = "This is a WebSocket. Open it with a WebSocket client, or read the same events at /events."
    return problem_response(UpgradeRequired(detail), request.scope, {"Upgrade": "websocket", "Connection": "Upgrade"})


async def open_socket(socket: WebSocket) -> None:
    """The events as text frames; refused with a problem before the handshake."""
    try:
        caller, job_id = caller_of(socket), socket.path_params["job_id"]
        types, after = ask.types(socket.query_params), ask.after(socket.query_params, socket.headers.get("last-event-id"))
        await watch.events(caller, job_id, after, limit=1)
    except Problem as problem:
        await refuse(problem, socket.scope, socket.receive, socket.send)
        return
    events = watch.follow(caller, job_id, after)
    cancel = partial(control.cancel, caller, job_id)
    served = EventSocket(socket, events, after, types, cancel=cancel, follower=caller.store.follower)
    await served.serve()


def page_body(page: EventPage, after: int, types: frozenset[str]) -> bytes:
    """A page of events as JSON. `next` is what to ask `?after=` for next, null when the job has ended and this was the rest."""
    reached = page.events[-1].seq if page.events else after
    terminal = page.status in TERMINAL
    over = terminal and reached >= page.latest
    shown = b",".join(event.to_json() for event in page.events if event.type in types)
    return b'{"events":[%b],"next":%b,"terminal":%b}' % (shown, orjson.dumps(None if over else reached), orjson.dumps(terminal))
