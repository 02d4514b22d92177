"""/jobs"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from longrun.api import headers as ask
from longrun.api.answers import job_response, json_response, raw_response
from longrun.api.problems import job_problem_response
from longrun.api.resources import caller_of
from longrun.api.routes.files import content_response
from longrun.api.streams.blob import BlobResponse
from longrun.api.streams.disconnect import unless_left
from longrun.errors import JobGone
from longrun.jobs.files import FileRef, only_file
from longrun.jobs.record import JobRecord
from longrun.jobs.states import Status
from longrun.jobs.view import attempt_view, job_urls, job_view
from longrun.service import control, read, watch
from longrun.service.caller import Caller

#: The same output has several forms.
_VARIES = {"Vary": "Accept"}


def _asked(request: Request) -> tuple[Caller, str]:
    return caller_of(request), request.path_params["job_id"]


async def get_job(request: Request) -> Response:
    """200 and the job; 304 when the caller's version is the latest.

    `Prefer: wait` waits for the end, or, when the caller says which version it has, for any change from that.
    """
    caller, job_id = _asked(request)
    prefer = ask.preference(request.headers.getlist("prefer"))
    known = ask.known_versions(request.headers.getlist("if-none-match"))
    asked = _awaited(caller, job_id, prefer.wait, known)
    job = await (unless_left(request, asked) if prefer.wait else asked)
    more = {"ETag": ask.etag(job.version)}
    if prefer.wait:
        more["Preference-Applied"] = f"wait={prefer.wait:.0f}"
    if known is not None and not known.isdisjoint({job.version, ask.ANY_VERSION}):
        return Response(status_code=304, headers={**more, "Cache-Control": "no-store"})
    return await job_response(caller, job, headers=more)


async def _awaited(caller: Caller, job_id: str, seconds: float, known: frozenset[int] | None) -> JobRecord:
    if not seconds:
        return await read.get(caller, job_id)
    if known is None or ask.ANY_VERSION in known:
        return await read.wait(caller, job_id, timeout=seconds)
    return await read.wait(caller, job_id, timeout=seconds, until="change", known=known)


async def get_result(request: Request) -> Response:
    """200 and the output itself, 303 when it is a file; 202 while it is not there yet; 424 and the job's problem when it never will be.

    An array that is kept as one is given as it is to those who ask for it, and as JSON to others.
    """
    caller, job_id = _asked(request)
    job = await read.get(caller, job_id)
    if not job.terminal:
        return await job_response(caller, job, status=202)
    if job.status is not Status.SUCCEEDED:
        return job_problem_response(caller, job, request.scope)
    array = watch.kept_array(job)
    if array is not None and ask.wants_array(request.headers.get("accept", "")):
        return await content_response(request, caller, array, _VARIES)
    if array is not None:
        return await _text_of(caller, job_id, array)
    output = await watch.whole_output(caller, job)
    if output is None:
        raise _not_kept(job_id)
    file_id = only_file(output)
    if file_id is not None:
        return RedirectResponse(await caller.urls.url(caller.tenant, file_id, caller.base), 303, {"Cache-Control": "no-store"})
    return raw_response(await caller.urls.rendered(output, caller.tenant, caller.base), headers=_VARIES)


def _not_kept(job_id: str) -> JobGone:
    return JobGone(f"The output of job {job_id} is not kept any longer.")


async def _text_of(caller: Caller, job_id: str, array: FileRef, before: bytes = b"", after: bytes = b"") -> Response:
    """An array as JSON, with what stands around it."""
    # What is missing is said before the answer begins.
    if await caller.blobs.head(array.key) is None:
        raise _not_kept(job_id)
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **_VARIES}
    return BlobResponse(watch.array_text(caller, array, before, after), 200, headers)


async def get_output(request: Request) -> Response:
    """200 and the output so far of the current attempt."""
    caller, job_id = _asked(request)
    so_far = await watch.output_so_far(caller, job_id)
    about = {"attempt": so_far.attempt, "status": so_far.status.value, "complete": so_far.complete, "truncated": so_far.truncated}
    if so_far.array is not None:
        return await _text_of(caller, job_id, so_far.array, orjson.dumps(about)[:-1] + b',"output":', b"}")
    return json_response({**about, "output": orjson.Fragment(so_far.output)})


async def get_attempts(request: Request) -> Response:
    """200 and the attempts, oldest first."""
    caller, job_id = _asked(request)
    found = await read.attempts(caller, job_id)
    instance = job_urls(job_id, caller.base)["self"]
    return json_response({"attempts": [attempt_view(each, instance, debug=caller.debug) for each in found]})


async def cancel_job(request: Request) -> Response:
    """202 while the job is being stopped; 200 when it has ended."""
    caller, job_id = _asked(request)
    job = await control.cancel(caller, job_id)
    return await job_response(caller, job, status=200 if job.terminal else 202)


async def retry_job(request: Request) -> Response:
    """202 and a new job with the same input."""
    caller, job_id = _asked(request)
    job = await control.retry(caller, job_id)
    return await job_response(caller, job, status=202, headers={"Location": f"{caller.base}/jobs/{job.id}"})


async def delete_job(request: Request) -> Response:
    """204; the job is gone."""
    await control.delete(*_asked(request))
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


async def list_jobs(request: Request) -> Response:
    """200 and a page of the caller's jobs, newest first."""
    return await listing(request, "idx")


async def listing(request: Request, index: read.Index) -> Response:
    """A page of jobs of an index, with the URL of the next one in `next` and `Link`."""
    caller, query = caller_of(request), request.query_params
    found = await read.list_jobs(caller, ask.filters(query), cursor=query.get("cursor"), limit=ask.limit(query), index=index)
    shown = [job_view(job, caller.base, with_output=False, debug=caller.debug) for job in found.jobs]
    page: dict[str, Any] = {"jobs": shown, "next": None}
    if found.cursor is None:
        return json_response(page)
    path = "jobs" if index == "idx" else "dead-letters"
    page["next"] = f"{caller.base}/{path}?{urlencode({**query, 'cursor': found.cursor})}"
    return json_response(page, headers={"Link": f'<{page["next"]}>; rel="next"'})
