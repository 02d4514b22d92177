"""/batches"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from longrun.api import headers as ask
from longrun.api.answers import json_response, read_body
from longrun.api.http.body import read_json
from longrun.api.http.jsonl import check_lines_charset, is_lines, read_lines
from longrun.api.http.multipart import steady
from longrun.api.resources import caller_of
from longrun.api.streams.blob import BlobResponse
from longrun.api.streams.disconnect import unless_left
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

#: Name of the query parameter that holds the options of a batch whose body is lines.
OPTIONS = "options"


async def submit_batch(request: Request) -> Response:
    """202 and the batch; 200 when `Prefer: wait` saw its end."""
    caller, headers = caller_of(request), request.headers
    spec = caller.models.get(request.path_params["model"])
    key = ask.idempotency_key(headers.getlist("idempotency-key"))
    prefer = ask.preference(headers.getlist("prefer"))
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
    content_type, given = request.headers.get("content-type", ""), request.query_params.get(OPTIONS)
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
        finding = {"pointer": f"/query/{OPTIONS}", "detail": "the body has members of its own for them"}
        raise ValidationFailed("The options were given twice.", errors=[finding])
    inputs, file_id = body.pop("inputs", None), body.pop("file", None)
    asked = parsed(BatchOptions, body)
    if file_id is not None:
        return read_lines(await _content(caller, file_id), most), asked
    if not isinstance(inputs, list):
        raise ValidationFailed("The inputs are no array.", errors=[{"pointer": "/inputs", "detail": "must be an array"}])
    return _each(inputs), asked


def _options_in_query(text: str) -> Any:
    where = f"/query/{OPTIONS}"
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
    prefer = ask.preference(request.headers.getlist("prefer"))
    known = ask.known_versions(request.headers.getlist("if-none-match"))
    if prefer.wait:
        versions = None if known is None or ask.ANY_VERSION in known else known
        batch = await unless_left(request, batches.wait(caller, batch_id, timeout=prefer.wait, known=versions))
    else:
        batch = await batches.get(caller, batch_id)
    more = {"ETag": ask.etag(batch.version)}
    if prefer.wait:
        more["Preference-Applied"] = f"wait={prefer.wait:.0f}"
    if known is not None and not known.isdisjoint({batch.version, ask.ANY_VERSION}):
        return Response(status_code=304, headers={**more, "Cache-Control": "no-store"})
    return batch_response(batch, caller.base, headers=more)


async def get_results(request: Request) -> Response:
    """200 and a line for each item, in the order of the inputs; 202 and the batch while it goes on, unless `?partial=true`."""
    caller, batch_id = _named(request)
    query = request.query_params
    first, most, partial = ask.results_after(query) + 1, ask.results_limit(query), ask.flag(query, "partial")
    batch = await batches.get(caller, batch_id)
    if not batch.terminal and not partial:
        return batch_response(batch, caller.base, 202)
    headers = {"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
    return BlobResponse(results(caller, batch, first, most), 200, headers)


async def cancel_batch(request: Request) -> Response:
    """202 while the batch is being stopped; 200 when it has ended."""
    caller, batch_id = _named(request)
    batch = await batches.cancel(caller, batch_id)
    return batch_response(batch, caller.base, 200 if batch.terminal else 202)


async def list_batches(request: Request) -> Response:
    """200 and a page of the caller's batches, newest first."""
    caller, query = caller_of(request), request.query_params
    found, cursor = await batches.list_batches(caller, cursor=query.get("cursor"), limit=ask.limit(query))
    page: dict[str, Any] = {"batches": [batch_view(each, caller.base) for each in found], "next": None}
    if cursor is None:
        return json_response(page)
    page["next"] = f"{caller.base}/batches?{urlencode({**query, 'cursor': cursor})}"
    return json_response(page, headers={"Link": f'<{page["next"]}>; rel="next"'})


def _named(request: Request) -> tuple[Caller, str]:
    return caller_of(request), request.path_params["batch_id"]
