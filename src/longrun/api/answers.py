"""What handlers answer with, and what they ask of a request again and again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from longrun.api.http.body import check_content_type, read_json
from longrun.api.http.multipart import in_time
from longrun.jobs.record import JobRecord
from longrun.jobs.states import Status
from longrun.jobs.view import job_view
from longrun.service.caller import Caller

_FIXED = ((b"cache-control", b"no-store"), (b"content-type", b"application/json"))
_LONGEST_RETRY_AFTER = 60


class _Json(Response):
    """Starlette's response without the search for headers that are never given."""

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str] | None) -> None:
        self.body, self.status_code, self.background = body, status, None
        self.raw_headers = [
            *_FIXED,
            (b"content-length", b"%d" % len(body)),
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()),
        ]


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer that no cache keeps; `value` may hold `orjson.Fragment`s. `headers`: none of type, length and caching."""
    return _Json(orjson.dumps(value), status, headers)


def raw_response(data: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of JSON text that exists already, like `json_response`."""
    return _Json(data, status, headers)


async def job_response(caller: Caller, job: JobRecord, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A job, with `Retry-After` while it has not ended. Raises StoreUnavailable: URLs of its files cannot be signed."""
    job = await caller.urls.job(job, caller.base)
    more = dict(headers or {})
    if not job.terminal:
        more["Retry-After"] = str(retry_after(job, time.time()))
    return json_response(job_view(job, caller.base, debug=caller.debug), status, more)


def retry_after(job: JobRecord, now: float) -> int:
    """Seconds after which it makes sense to look at the job again: 1, or when a delayed job is due, 60 at most."""
    if job.due is None or job.status not in (Status.SCHEDULED, Status.RETRYING):
        return 1
    return max(1, min(_LONGEST_RETRY_AFTER, math.ceil(job.due / 1000 - now)))


async def read_body(request: Request) -> Any:
    """The decoded JSON body. Raises UnsupportedMedia, PayloadTooLarge, UploadTooSlow, MalformedRequest or ValidationFailed."""
    check_content_type(request.headers.get("content-type"))
    return read_json(await _whole(request))


async def read_optional_body(request: Request) -> Any:
    """The decoded JSON body of a request that needs none; None: it has none. Raises as `read_body` does."""
    data = await _whole(request)
    if not data:
        return None
    check_content_type(request.headers.get("content-type"))
    return read_json(data)


async def _whole(request: Request) -> bytes:
    pieces, more = [], True
    while more:
        message = await in_time(request.receive())
        if message["type"] != "http.request":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)
