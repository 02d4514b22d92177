"""Following a job's events over as many connections as it takes."""

from __future__ import annotations

from typing import NamedTuple

from longrun.client.http.retry import TRY_AGAIN, Rules, Tries
from longrun.client.http.steps import ANSWER, SILENCE, Answer, Flow, Give, Lost, Request, Sleep, read, send
from longrun.client.protocol.calls import call, call_json, path_of
from longrun.client.protocol.events import Event, EventParser
from longrun.errors import ApiError

_LOOK = 2  #: seconds between two pages of events where streams do not get through


def follow(rules: Rules, job_id: str, after: int = 0) -> Flow[None]:
    """Give the events of a job with a seq over `after`, each once and in order, until `done`.

    Each connection begins after the last event that was given, so connections may break, and a restarted server or another
    replica may answer. Where streams do not get through, pages of events are read instead.

    Raises:
        ApiError: the job is not there, is gone, or is not ours; or the server's store has lost it, or events that were given.
        Unreachable: no sign of life of the server for as long as the rules say.
    """
    tries = Tries(rules)
    while True:
        reply = yield from send(_stream_of(job_id, after), "events")
        if isinstance(reply, Answer) and reply.is_stream:
            seen = yield from _read_stream(after)
            if seen.ended:
                return
            if seen.heard:
                tries.alive()
            if seen.after > after:
                tries.succeeded()
            after, reply = seen.after, seen.lost
            if reply.silent and not seen.heard:
                break  # something between us and the server holds the stream back
        elif isinstance(reply, Answer) and reply.status == 204:
            return
        elif reply.silent if isinstance(reply, Lost) else reply.status not in TRY_AGAIN:
            break  # no stream gets through, not even its head; or there is no such job, which the pages will say
        yield from tries.wait(reply)
    yield from _read_pages(rules, job_id, after)


def _stream_of(job_id: str, after: int) -> Request:
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(after)} if after else {})}
    return Request("GET", path_of("jobs", job_id, "/events"), headers, limit=SILENCE)


class _Seen(NamedTuple):
    """What came over one connection."""

    after: int  #: the last seq that was given
    ended: bool  #: whether that was the end of the job
    heard: bool  #: whether there was any byte
    lost: Lost  #: why no more came


def _read_stream(after: int) -> Flow[_Seen]:
    """Give the events of an open stream. Raises ApiError: the stream ends with an error."""
    parser, heard = EventParser(), False
    while True:
        piece = yield from read()
        if isinstance(piece, Lost):
            return _Seen(after, False, heard, piece)
        if not piece:
            return _Seen(after, False, heard, Lost("the stream ended before the job"))
        try:
            events = parser.feed(piece)
        except (ValueError, KeyError, TypeError):
            return _Seen(after, False, heard, Lost("the stream holds something that is no event"))
        heard = True
        for event in events:
            if event.type == "error":
                raise ApiError(int(event.data.get("status", 404)), event.data)
            if event.reach > after:
                after = event.reach
                yield Give(event)
            if event.type == "done":
                return _Seen(after, True, heard, Lost(""))


def _read_pages(rules: Rules, job_id: str, after: int) -> Flow[None]:
    """Give events page by page, looking again every two seconds, and at once when the job has ended."""
    while True:
        page = yield from call_json(
            rules, Request("GET", path_of("jobs", job_id, f"/events?after={after}"), {"Accept": "application/json"})
        )
        for body in page["events"]:
            event = Event.of(body)
            after = max(after, event.reach)
            yield Give(event)
        if page["next"] is None:
            return
        if not page["events"]:
            begun = rules.clock()
            yield from call(rules, Request("GET", path_of("jobs", job_id), {"Prefer": f"wait={_LOOK}"}, limit=_LOOK + ANSWER))
            yield Sleep(max(0.0, 1.0 - (rules.clock() - begun)))  # a server that does not wait must not be asked without pause
