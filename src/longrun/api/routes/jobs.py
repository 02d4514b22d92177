"""/jobs"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from longrun import wire
from longrun.api.http.answers import job_response, json_response, no_content, page_response, raw_response, versioned
from longrun.api.http.parameters import CURSOR, KNOWN_VERSIONS, LIMIT, PREFER, Query, as_text, one_of, specific, wants
from longrun.api.http.routing import BINARY, Answer, Routes, gives
from longrun.api.problems import job_problem_response
from longrun.api.resources import caller_of
from longrun.api.routes.files import content_response
from longrun.api.streams.blob import BlobResponse
from longrun.api.streams.disconnect import unless_left
from longrun.clock import parse_rfc3339
from longrun.errors import JobGone
from longrun.jobs import npy
from longrun.jobs.file_refs import FileRef, only_file
from longrun.jobs.states import Status
from longrun.service import control, read, watch
from longrun.service.caller import Caller


def _since(text: str | None) -> int:
    if text is None:
        return 0
    try:
        # A `+` of a time zone arrives as a space where a caller forgot to encode it.
        return max(0, parse_rfc3339(text.replace(" ", "+") if "T" in text else text) + 1)
    except (ValueError, OverflowError):
        raise ValueError("must be a time such as 2026-01-31T09:30:00Z") from None


MODEL = Query("model", "Jobs of this model.", as_text)
STATUS = Query("status", "Jobs in this state.", one_of([*Status]))
TAG = Query("tag", "Jobs with this tag.", as_text)
CODE = Query("code", "Jobs whose error has this code.", as_text)
CREATED_AFTER = Query("created_after", "Jobs created after this time (RFC 3339).", _since)
LISTING = (MODEL, STATUS, TAG, CODE, CREATED_AFTER, CURSOR, LIMIT)

#: The same output has several forms.
_VARIES = {"Vary": "Accept"}
_JOB, _GONE = wire.Job, (404, 410)
_SEEN = {200: gives(_JOB, "The job.", "ETag", "Retry-After"), 304: Answer("Not changed.")}
_RESULT = {
    200: gives({}, "The output. A large array is given in .npy format to those who ask for that.", array=BINARY),
    202: gives(_JOB, "Not yet."),
    303: Answer("The output is one file: it is there.", headers=("Location",)),
    424: Answer("It did not succeed.", {"application/problem+json": wire.JobUnsuccessful}),
}
routes = Routes("jobs")


def _asked(request: Request) -> tuple[Caller, str]:
    return caller_of(request), request.path_params["job_id"]


@routes("GET", "/jobs/{job_id}", _SEEN, _GONE, (PREFER, KNOWN_VERSIONS))
async def get_job(request: Request) -> Response:
    """One job.

    `Prefer: wait` waits for the end, or, when the caller says which version it has, for any change from that.
    """
    caller, job_id = _asked(request)
    prefer, known = PREFER.of(request), KNOWN_VERSIONS.of(request)
    if prefer.wait:
        job = await unless_left(request, read.wait(caller, job_id, timeout=prefer.wait, known=specific(known)))
    else:
        job = await read.get(caller, job_id)
    more, unchanged = versioned(job.version, prefer, known)
    return no_content(304, more) if unchanged else await job_response(caller, job, headers=more)


@routes("GET", "/jobs/{job_id}/result", _RESULT, _GONE)
async def get_result(request: Request) -> Response:
    """The output itself.

    An array that is kept as one is given as it is to those who ask for it, and as JSON to others.
    """
    caller, job_id = _asked(request)
    job = await read.get(caller, job_id)
    if not job.terminal:
        return await job_response(caller, job, status=202)
    if job.status is not Status.SUCCEEDED:
        return job_problem_response(caller, job, request.scope)
    array = watch.kept_array(job)
    if array is not None and wants(request.headers.get("accept", ""), npy.MEDIA_TYPE):
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


@routes("GET", "/jobs/{job_id}/output", {200: gives(wire.OutputSoFar)}, _GONE)
async def get_output(request: Request) -> Response:
    """The output so far."""
    caller, job_id = _asked(request)
    answer, array = await watch.output_so_far(caller, job_id)
    if array is None:
        return json_response(answer)
    before, _, after = wire.encode(answer).rpartition(b"null")
    return await _text_of(caller, job_id, array, before, after)


@routes("GET", "/jobs/{job_id}/attempts", {200: gives(wire.AttemptList)}, _GONE)
async def get_attempts(request: Request) -> Response:
    """Who ran it, and how it went."""
    caller, job_id = _asked(request)
    found = await read.attempts(caller, job_id)
    instance = wire.JobUrls.of(job_id, caller.base).self
    return json_response(wire.AttemptList([wire.Attempt.of(each, instance, debug=caller.debug) for each in found]))


@routes("POST", "/jobs/{job_id}/cancel", {200: gives(_JOB, "It has ended."), 202: gives(_JOB, "It is being stopped.")}, _GONE)
async def cancel_job(request: Request) -> Response:
    """Stop a job."""
    caller, job_id = _asked(request)
    job = await control.cancel(caller, job_id)
    return await job_response(caller, job, status=200 if job.terminal else 202)


@routes("POST", "/jobs/{job_id}/retry", {202: gives(_JOB, "The new job.", "Location")}, (*_GONE, 409, 507))
async def retry_job(request: Request) -> Response:
    """Run it again as a new job."""
    caller, job_id = _asked(request)
    job = await control.retry(caller, job_id)
    return await job_response(caller, job, status=202, headers={"Location": f"{caller.base}/jobs/{job.id}"})


@routes("DELETE", "/jobs/{job_id}", {204: Answer("Erased.")}, (*_GONE, 409))
async def delete_job(request: Request) -> Response:
    """Erase an ended job."""
    await control.delete(*_asked(request))
    return no_content()


@routes("GET", "/jobs", {200: gives(wire.JobPage, "", "Link")}, (422,), LISTING)
async def list_jobs(request: Request) -> Response:
    """Own jobs, newest first."""
    return await listing(request, "idx", "/jobs")


async def listing(request: Request, index: read.Index, path: str) -> Response:
    """A page of jobs of an index, which is listed at `path`."""
    caller = caller_of(request)
    found, cursor = await read.list_jobs(caller, filters(request), cursor=CURSOR.of(request), limit=LIMIT.of(request), index=index)
    page = wire.JobPage([wire.Job.of(job, caller.base, with_output=False, debug=caller.debug) for job in found], None)
    return page_response(caller, request, path, page, cursor)


def filters(request: Request) -> read.Filters:
    """What a listing is narrowed to. Raises ValidationFailed."""
    model, tag, code = MODEL.of(request), TAG.of(request), CODE.of(request)
    status = STATUS.of(request)
    return read.Filters(model, None if status is None else Status(status), tag, code, CREATED_AFTER.of(request))
