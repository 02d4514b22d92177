"""POST /models/{model}/jobs"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from longrun import wire
from longrun.api.http.answers import job_response, read_body
from longrun.api.http.forms import read_submit
from longrun.api.http.multipart import is_multipart
from longrun.api.http.parameters import IDEMPOTENCY_KEY, PREFER, wants
from longrun.api.http.routing import Routes, gives
from longrun.api.openapi import models
from longrun.api.resources import caller_of
from longrun.api.streams import disconnect
from longrun.api.streams.sse import EventStream
from longrun.errors import StoreUnavailable
from longrun.service.read import wait
from longrun.service.request import parse_request
from longrun.service.submit import submit
from longrun.service.uploads import Uploads
from longrun.service.watch import follow

_HEADERS = ("Location", "Retry-After", "Idempotency-Replayed", "Preference-Applied")
_ENDED = "With `Prefer: wait`: the job has ended, however it did. Or the event stream."
_ANSWERS = {200: gives(wire.Job, _ENDED, *_HEADERS, stream=wire.StreamedEvent), 202: gives(wire.Job, "Accepted.", *_HEADERS)}
routes = Routes("models")


@routes("POST", "/models/{model}/jobs", _ANSWERS, (404, 408, 422, 507), (IDEMPOTENCY_KEY, PREFER), each_model=models.submit)
async def submit_job(request: Request) -> Response:
    """Submit a job."""
    caller, headers = caller_of(request), request.headers
    spec = caller.models.get(request.path_params["model"])
    key, prefer = IDEMPOTENCY_KEY.of(request), PREFER.of(request)
    async with Uploads(caller) as uploads:
        is_form = is_multipart(headers.get("content-type"))
        body = await (read_submit(request, uploads, spec) if is_form else read_body(request, caller.settings.max_items))
        asked = parse_request(body)
        submitted = await submit(caller, spec.name, asked, uploads, idempotency_key=key, body=body)
    job = submitted.job
    more = {"Location": f"{caller.base}/jobs/{job.id}"}
    if submitted.replayed:
        more["Idempotency-Replayed"] = "true"
    on_leaving = partial(disconnect.cancel_abandoned, caller, job.id) if asked.cancel_on_disconnect else None
    if wants(headers.get("accept", ""), EventStream.media_type):
        return EventStream(follow(caller, job.id, 0), headers=more, on_leaving=on_leaving)
    if prefer.applied is not None:
        more["Preference-Applied"] = prefer.applied
    if prefer.wait:
        # The job is accepted: a store that goes away while we wait does not change that.
        with suppress(StoreUnavailable):
            try:
                job = await disconnect.unless_left(request, wait(caller, job.id, timeout=prefer.wait, accepted=True))
            except ClientDisconnect:
                if on_leaving is not None:
                    await on_leaving()
                raise
    return await job_response(caller, job, status=200 if prefer.wait and job.terminal else 202, headers=more)
