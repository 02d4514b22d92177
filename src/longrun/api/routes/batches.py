"""/batches"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from longrun import wire
from longrun.api.body import read_json
from longrun.api.http.answers import json_response, no_content, page_response, read_body
from longrun.api.http.parameters import ANY_VERSION, CURSOR, IDEMPOTENCY_KEY, KNOWN_VERSIONS, LIMIT, PREFER, Query, as_text, etag
from longrun.api.http.routing import TEXT, Answer, Body, Route, gives
from longrun.api.jsonl import check_lines_charset, is_lines, read_lines
from longrun.api.leaving import unless_left
from longrun.api.multipart import steady
from longrun.api.openapi import models
from longrun.api.resources import caller_of
from longrun.api.routes.files import BoundedResponse
from longrun.blobs.contract import BlobNotFound
from longrun.errors import FileGone, MalformedRequest, StoreUnavailable, ValidationFailed
from longrun.service import batches, files
from longrun.service.batch_inputs import Item
from longrun.service.batch_request import BatchOptions
from longrun.service.batch_results import results
from longrun.service.batch_view import batch_view
from longrun.service.caller import Caller
from longrun.service.request import parsed
from longrun.store.batches import BatchRecord


async def submit_batch(request: Request) -> Response:
    """202 and the batch; 200 when `Prefer: wait` saw its end."""
    caller = caller_of(request)
    spec = caller.models.get(request.path_params["model"])
    key, prefer = IDEMPOTENCY_KEY.of(request), PREFER.of(request)
    items, options = await _asked(request, caller)
    submitted = await batches.submit_batch(caller, spec, items, options, idempotency_key=key)
    batch = submitted.batch
    more = {"Location": f"{caller.base}/batches/{batch.id}"}
    if submitted.replayed:
        more["Idempotency-Replayed"] = "true"
    if prefer.applied is not None:
        more["Preference-Applied"] = prefer.applied
    if prefer.wait:
        # The batch is accepted: a store that goes away while we wait does not change that.
        with suppress(StoreUnavailable):
            batch = await unless_left(request, batches.wait(caller, batch.id, timeout=prefer.wait))
    return batch_response(batch, caller.base, 200 if prefer.wait and batch.terminal else 202, more)


async def _asked(request: Request, caller: Caller) -> tuple[AsyncIterator[Item], BatchOptions]:
    """The inputs, and what holds for all of them."""
    content_type, given = request.headers.get("content-type", ""), OPTIONS.of(request)
    options = {} if given is None else _options_in_query(given)
    most = caller.settings.max_body
    if is_lines(content_type):
        check_lines_charset(content_type)
        return read_lines(steady(request.stream()), most), parsed(BatchOptions, options)
    body = await read_body(request)
    if isinstance(body, list):
        return _each(body), parsed(BatchOptions, options)
    if not isinstance(body, dict) or ("inputs" in body) == ("file" in body):
        finding = {"pointer": "", "detail": "must be an array of inputs, or an object with one of the members `inputs` and `file`"}
        raise ValidationFailed("The body holds no inputs.", errors=[finding])
    if given is not None:
        finding = {"pointer": f"/query/{OPTIONS.name}", "detail": "the body has members of its own for them"}
        raise ValidationFailed("The options were given twice.", errors=[finding])
    inputs, file_id = body.pop("inputs", None), body.pop("file", None)
    asked = parsed(BatchOptions, body)
    if file_id is not None:
        return read_lines(await _content(caller, file_id), most), asked
    if not isinstance(inputs, list):
        raise ValidationFailed("The inputs are no array.", errors=[{"pointer": "/inputs", "detail": "must be an array"}])
    return _each(inputs), asked


def _options_in_query(text: str) -> Any:
    where = f"/query/{OPTIONS.name}"
    try:
        return read_json(text.encode("utf-8", "surrogateescape"))
    except MalformedRequest as error:
        finding = {"pointer": where, "detail": error.detail.replace("The body", "It")}
        raise ValidationFailed("The options are not JSON.", errors=[finding]) from None
    except ValidationFailed as error:
        found = [{"pointer": where + each["pointer"], "detail": each["detail"]} for each in error.errors or ()]
        raise ValidationFailed("The options hold values that are not accepted.", errors=found) from None


async def _each(values: list[Any]) -> AsyncIterator[Item]:
    for value in values:
        yield Item(value)


async def _content(caller: Caller, file_id: Any) -> AsyncIterator[bytes]:
    if not isinstance(file_id, str):
        raise ValidationFailed("The file is named by its id.", errors=[{"pointer": "/file", "detail": "must be a text, `file_…`"}])
    record = await files.get(caller, file_id)
    try:
        return await caller.blobs.get(record.ref.key)
    except BlobNotFound:
        raise FileGone(f"The bytes of {file_id} are not there any longer.") from None


def batch_response(batch: BatchRecord, base: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A batch, with `Retry-After` while it has not ended."""
    more = {} if batch.terminal else {"Retry-After": "1"}
    return json_response(batch_view(batch, base), status, {**(headers or {}), **more})


async def get_batch(request: Request) -> Response:
    """200 and the batch; 304 when the caller's version is the latest.

    `Prefer: wait` waits for the end, or, when the caller says which version it has, for any change from that.
    """
    caller, batch_id = _named(request)
    prefer, known = PREFER.of(request), KNOWN_VERSIONS.of(request)
    if prefer.wait:
        versions = None if known is None or ANY_VERSION in known else known
        batch = await unless_left(request, batches.wait(caller, batch_id, timeout=prefer.wait, known=versions))
    else:
        batch = await batches.get(caller, batch_id)
    more = {"ETag": etag(batch.version)}
    if prefer.wait:
        more["Preference-Applied"] = f"wait={prefer.wait:.0f}"
    if known is not None and not known.isdisjoint({batch.version, ANY_VERSION}):
        return no_content(304, more)
    return batch_response(batch, caller.base, headers=more)


async def get_batch_results(request: Request) -> Response:
    """200 and a line for each item, in the order of the inputs; 202 and the batch while it goes on, unless `?partial=true`."""
    caller, batch_id = _named(request)
    first, most, partial = AFTER.of(request) + 1, MOST.of(request), PARTIAL.of(request)
    batch = await batches.get(caller, batch_id)
    if not batch.terminal and not partial:
        return batch_response(batch, caller.base, 202)
    headers = {"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
    return BoundedResponse(results(caller, batch, first, most), 200, headers)


async def cancel_batch(request: Request) -> Response:
    """202 while the batch is being stopped; 200 when it has ended."""
    caller, batch_id = _named(request)
    batch = await batches.cancel(caller, batch_id)
    return batch_response(batch, caller.base, 200 if batch.terminal else 202)


async def list_batches(request: Request) -> Response:
    """200 and a page of the caller's batches, newest first."""
    caller = caller_of(request)
    found, cursor = await batches.list_batches(caller, cursor=CURSOR.of(request), limit=LIMIT.of(request))
    page = wire.BatchPage([batch_view(each, caller.base) for each in found], None)
    return page_response(caller, request, "/batches", page, cursor)


def _named(request: Request) -> tuple[Caller, str]:
    return caller_of(request), request.path_params["batch_id"]


def _after(text: str | None) -> int:
    if text is not None and not re.fullmatch(r"-1|[0-9]{1,12}", text):
        raise ValueError("must be the index of an item, or -1")
    return -1 if text is None else int(text)


def _most(text: str | None) -> int | None:
    if text is not None and not re.fullmatch(r"[1-9][0-9]{0,11}", text):
        raise ValueError("must be a whole number of at least 1")
    return None if text is None else int(text)


def _flag(text: str | None) -> bool:
    if text not in (None, "true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


OPTIONS = Query("options", "Of a body that is an array or lines: JSON of the members that stand beside `inputs` otherwise.", as_text)
AFTER = Query("after", "Index of the last item that the caller has.", _after, {"type": "integer", "minimum": -1})
MOST = Query("limit", "Items, all when not given.", _most, {"type": "integer", "minimum": 1})
PARTIAL = Query("partial", "`true`: also before the end, with what is there.", _flag, {"type": "string", "enum": ["true", "false"]})

_BATCH, _OF_BATCH, _TAG, _GONE = wire.Batch, "/batches/{batch_id}", "batches", (404, 410)
_HEADERS = ("Location", "Retry-After", "Idempotency-Replayed", "Preference-Applied")
_HOW = (
    "Each input becomes a job, or nothing is accepted. A JSON array of inputs; or an object with `inputs`, or with `file`, the id of a "
    "stored file of JSON lines, and options beside it; or JSON lines, an input each, with the options in the query."
)
#: No schema says what a stream of lines is: it would have to be that of each line.
_LINES = Answer("A line for each item, in the order of the inputs.", {"application/x-ndjson": {}})
ROUTES = [
    Route(
        "POST", "/models/{model}/batches", submit_batch, "Submit many inputs", _TAG,
        {200: gives(_BATCH, "With `Prefer: wait`: the batch has ended.", *_HEADERS), 202: gives(_BATCH, "Accepted.", *_HEADERS)},
        (404, 408, 410, 422, 507), (IDEMPOTENCY_KEY, PREFER, OPTIONS), Body({"application/jsonl": TEXT}), _HOW,
        each_model=models.submit_batch,
    ),
    Route(
        "GET", "/batches", list_batches, "Own batches, newest first", _TAG,
        {200: gives(wire.BatchPage, "A page.", "Link")}, (422,), (CURSOR, LIMIT),
    ),
    Route(
        "GET", _OF_BATCH, get_batch, "One batch", _TAG,
        {200: gives(_BATCH, "The batch.", "ETag", "Retry-After"), 304: Answer("Not changed.")}, _GONE, (PREFER, KNOWN_VERSIONS),
    ),
    Route(
        "GET", f"{_OF_BATCH}/results", get_batch_results, "What became of the items", _TAG,
        {200: _LINES, 202: gives(_BATCH, "Not yet.", "Retry-After")}, (*_GONE, 422),
        (PARTIAL, AFTER, MOST),
        description="Each line is a `BatchResult`.", mentions=(wire.BatchResult,),
    ),
    Route(
        "POST", f"{_OF_BATCH}/cancel", cancel_batch, "Stop a batch", _TAG,
        {200: gives(_BATCH, "It has ended."), 202: gives(_BATCH, "It is being stopped.")}, _GONE,
    ),
]  # fmt: skip
