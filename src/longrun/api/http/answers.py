"""What handlers answer with, and what they ask of a request again and again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from longrun import wire
from longrun.api.http.body import check_content_type, read_json
from longrun.api.http.multipart import in_time
from longrun.api.http.parameters import ANY_VERSION, Preference
from longrun.jobs.record import JobRecord
from longrun.jobs.states import Status
from longrun.service.aside import aside
from longrun.service.caller import Caller
from longrun.service.signals import asks_of

_FIXED = ((b"cache-control", b"no-store"), (b"content-type", b"application/json"))
_LONGEST_RETRY_AFTER = 60

Page = wire.JobPage | wire.BatchPage | wire.DeliveryPage | wire.Tree


class _Json(Response):
    """Starlette's response without the search for headers that are never given."""

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str] | None) -> None:
        self.body, self.status_code, self.background = body, status, None
        self.raw_headers = [
            *_FIXED,
            (b"content-length", b"%d" % len(body)),
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()),
        ]


def json_response(answer: wire.Answer, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer as JSON that no cache keeps. `headers`: none of type, length and caching."""
    return _Json(wire.encode(answer), status, headers)


def raw_response(data: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of JSON text that exists already, like `json_response`."""
    return _Json(data, status, headers)


async def job_response(caller: Caller, job: JobRecord, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A job, with `Retry-After` while it has not ended. Raises StoreUnavailable: URLs of its files cannot be signed."""
    job = await caller.urls.job(job, caller.base)
    more = dict(headers or {})
    if not job.terminal:
        more["Retry-After"] = str(retry_after(job, time.time()))
    return json_response(wire.Job.of(job, caller.base, asks=await asks_of(caller, job), debug=caller.debug), status, more)


def page_response(caller: Caller, request: Request, path: str, page: Page, cursor: str | None) -> Response:
    """A page of a listing, with the URL of the next one in `next` and `Link`; `path`: of the listing, `cursor`: None = it was the last."""
    if cursor is None:
        return json_response(page)
    page.next = f"{caller.base}{path}?{urlencode({**request.query_params, 'cursor': cursor})}"
    return json_response(page, headers={"Link": f'<{page.next}>; rel="next"'})


def versioned(version: int, prefer: Preference, known: frozenset[int] | None) -> tuple[dict[str, str], bool]:
    """Headers of an answer that has a version, and whether the caller has that already: 304."""
    headers = {"ETag": f'"{version}"'}
    if prefer.wait:
        headers["Preference-Applied"] = f"wait={prefer.wait:.0f}"
    return headers, known is not None and not known.isdisjoint({version, ANY_VERSION})


def no_content(status: int = 204, headers: Mapping[str, str] | None = None) -> Response:
    """An answer without a body that no cache keeps."""
    return Response(status_code=status, headers={**(headers or {}), "Cache-Control": "no-store"})


def retry_after(job: JobRecord, now: float) -> int:
    """Seconds after which it makes sense to look at the job again: 1, or when a delayed job is due, 60 at most."""
    if job.due is None or job.status not in (Status.SCHEDULED, Status.RETRYING):
        return 1
    return max(1, min(_LONGEST_RETRY_AFTER, math.ceil(job.due / 1000 - now)))


async def read_body(request: Request, most_items: int) -> Any:
    """The decoded JSON body. `most_items`: what it may count, see `body.read_json`.

    Raises UnsupportedMedia, PayloadTooLarge, UploadTooSlow, MalformedRequest or ValidationFailed.
    """
    check_content_type(request.headers.get("content-type"))
    data = await _whole(request)
    return await aside(len(data), read_json, data, most_items)


async def read_optional_body(request: Request, most_items: int) -> Any:
    """The decoded JSON body of a request that needs none; None: it has none. Raises as `read_body` does."""
    data = await _whole(request)
    if not data:
        return None
    check_content_type(request.headers.get("content-type"))
    return await aside(len(data), read_json, data, most_items)


async def _whole(request: Request) -> bytes:
    pieces, more = [], True
    while more:
        message = await in_time(request.receive())
        if message["type"] != "http.request":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)
