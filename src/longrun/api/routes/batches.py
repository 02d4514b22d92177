"""/batches"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from longrun import wire
from longrun.api.http.answers import json_response, no_content, page_response, read_body, versioned
from longrun.api.http.body import check_charset, read_json_at
from longrun.api.http.jsonl import is_lines, read_lines
from longrun.api.http.multipart import steady
from longrun.api.http.parameters import CURSOR, IDEMPOTENCY_KEY, KNOWN_VERSIONS, LIMIT, PREFER, Query, as_text, flag, specific, whole
from longrun.api.http.routing import TEXT, Answer, Body, Routes, gives
from longrun.api.openapi import models
from longrun.api.resources import caller_of
from longrun.api.streams.blob import BlobResponse
from longrun.api.streams.disconnect import unless_left
from longrun.blobs.contract import BlobNotFound
from longrun.errors import FileGone, StoreUnavailable, ValidationFailed
from longrun.service import batches, files
from longrun.service.batch_inputs import Item
from longrun.service.batch_results import results
from longrun.service.batch_view import batch_view
from longrun.service.caller import Caller
from longrun.service.request import BatchOptions, parsed
from longrun.store.batches import BatchRecord

OPTIONS = Query("options", "Of a body that is an array or lines: JSON of the members that stand beside `inputs` otherwise.", as_text)
AFTER = Query(
    "after",
    "Index of the last item that the caller has.",
    whole("-1|[0-9]{1,12}", "must be the index of an item, or -1", -1),
    {"type": "integer", "minimum": -1},
)
MOST = Query(
    "limit",
    "Items, all when not given.",
    whole("[1-9][0-9]{0,11}", "must be a whole number of at least 1", None),
    {"type": "integer", "minimum": 1},
)
PARTIAL = Query("partial", "`true`: also before the end, with what is there.", flag, {"type": "string", "enum": ["true", "false"]})

_OPTIONS_AT = f"/query/{OPTIONS.name}"
_BATCH, _GONE = wire.Batch, (404, 410)
_HEADERS = ("Location", "Retry-After", "Idempotency-Replayed", "Preference-Applied")
_SUBMITTED = {200: gives(_BATCH, "With `Prefer: wait`: the batch has ended.", *_HEADERS), 202: gives(_BATCH, "Accepted.", *_HEADERS)}
#: One model's routes say what the JSON is.
_BODY = Body({"application/jsonl": TEXT})
_SEEN = {200: gives(_BATCH, "The batch.", "ETag", "Retry-After"), 304: Answer("Not changed.")}
_RESULTS = {
    # No schema says what a stream of lines is: it would have to be that of each line.
    200: Answer("A line for each item, in the order of the inputs.", {"application/x-ndjson": {}}),
    202: gives(_BATCH, "Not yet.", "Retry-After"),
}
_ASKED = (IDEMPOTENCY_KEY, PREFER, OPTIONS)
routes = Routes("batches")


@routes("POST", "/models/{model}/batches", _SUBMITTED, (*_GONE, 408, 422, 507), _ASKED, body=_BODY, each_model=models.submit_batch)
async def submit_batch(request: Request) -> Response:
    """Submit many inputs.

    Each input becomes a job, or nothing is accepted. A JSON array of inputs; or an object with `inputs`, or with `file`, the id of a
    stored file of JSON lines, and options beside it; or JSON lines, an input each, with the options in the query.
    """
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
            batch = await unless_left(request, batches.wait(caller, batch.id, timeout=prefer.wait, accepted=True))
    return batch_response(batch, caller.base, 200 if prefer.wait and batch.terminal else 202, more)


async def _asked(request: Request, caller: Caller) -> tuple[AsyncIterator[Item], BatchOptions]:
    """The inputs, and what holds for all of them."""
    content_type, given = request.headers.get("content-type", ""), OPTIONS.of(request)
    options = {} if given is None else read_json_at(_OPTIONS_AT, given.encode("utf-8", "surrogateescape"))
    most, most_items = caller.settings.max_body, caller.settings.max_items
    if is_lines(content_type):
        check_charset(content_type)
        return read_lines(steady(request.stream()), most, most_items), parsed(BatchOptions, options)
    body = await read_body(request, most_items)
    if isinstance(body, list):
        return _each(body), parsed(BatchOptions, options)
    if not isinstance(body, dict) or ("inputs" in body) == ("file" in body):
        finding = {"pointer": "", "detail": "must be an array of inputs, or an object with one of the members `inputs` and `file`"}
        raise ValidationFailed("The body holds no inputs.", errors=[finding])
    if given is not None:
        finding = {"pointer": _OPTIONS_AT, "detail": "the body has members of its own for them"}
        raise ValidationFailed("The options were given twice.", errors=[finding])
    inputs, file_id = body.pop("inputs", None), body.pop("file", None)
    asked = parsed(BatchOptions, body)
    if file_id is not None:
        return read_lines(await _content(caller, file_id), most, most_items), asked
    if not isinstance(inputs, list):
        raise ValidationFailed("The inputs are no array.", errors=[{"pointer": "/inputs", "detail": "must be an array"}])
    return _each(inputs), asked


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


@routes("GET", "/batches/{batch_id}", _SEEN, _GONE, (PREFER, KNOWN_VERSIONS))
async def get_batch(request: Request) -> Response:
    """One batch.

    `Prefer: wait` waits for the end, or, when the caller says which version it has, for any change from that.
    """
    caller, batch_id = _named(request)
    prefer, known = PREFER.of(request), KNOWN_VERSIONS.of(request)
    if prefer.wait:
        batch = await unless_left(request, batches.wait(caller, batch_id, timeout=prefer.wait, known=specific(known)))
    else:
        batch = await batches.get(caller, batch_id)
    more, unchanged = versioned(batch.version, prefer, known)
    return no_content(304, more) if unchanged else batch_response(batch, caller.base, headers=more)


@routes("GET", "/batches/{batch_id}/results", _RESULTS, (*_GONE, 422), (PARTIAL, AFTER, MOST), mentions=(wire.BatchResult,))
async def get_batch_results(request: Request) -> Response:
    """What became of the items.

    Each line is a `BatchResult`.
    """
    caller, batch_id = _named(request)
    first, most, partial = AFTER.of(request) + 1, MOST.of(request), PARTIAL.of(request)
    batch = await batches.get(caller, batch_id)
    if not batch.terminal and not partial:
        return batch_response(batch, caller.base, 202)
    headers = {"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
    return BlobResponse(results(caller, batch, first, most), 200, headers)


@routes("POST", "/batches/{batch_id}/cancel", {200: gives(_BATCH, "It has ended."), 202: gives(_BATCH, "It is being stopped.")}, _GONE)
async def cancel_batch(request: Request) -> Response:
    """Stop a batch."""
    caller, batch_id = _named(request)
    batch = await batches.cancel(caller, batch_id)
    return batch_response(batch, caller.base, 200 if batch.terminal else 202)


@routes("GET", "/batches", {200: gives(wire.BatchPage, "", "Link")}, (422,), (CURSOR, LIMIT))
async def list_batches(request: Request) -> Response:
    """Own batches, newest first."""
    caller = caller_of(request)
    found, cursor = await batches.list_batches(caller, cursor=CURSOR.of(request), limit=LIMIT.of(request))
    page = wire.BatchPage([batch_view(each, caller.base) for each in found], None)
    return page_response(caller, request, "/batches", page, cursor)


def _named(request: Request) -> tuple[Caller, str]:
    return caller_of(request), request.path_params["batch_id"]
