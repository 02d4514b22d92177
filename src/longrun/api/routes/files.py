"""/files"""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from longrun import wire
from longrun.api.http.answers import json_response, no_content
from longrun.api.http.multipart import is_multipart, read_parts, steady
from longrun.api.http.parameters import Header, Query, as_text, first
from longrun.api.http.routing import BINARY, Answer, Body, Routes, gives
from longrun.api.resources import caller_of
from longrun.api.streams.blob import BlobResponse
from longrun.blobs.contract import BlobNotFound
from longrun.errors import FileGone, RangeNotSatisfiable, UnsupportedMedia, ValidationFailed
from longrun.jobs.file_refs import FileRef
from longrun.media.names import content_disposition
from longrun.service import files
from longrun.service.caller import Caller
from longrun.service.uploads import Uploads
from longrun.store.file_records import FileRecord

NAME = Query("name", "What the file is called, when it is the body itself.", as_text)
RANGE = Header("Range", "One range of bytes; several are answered with the whole file.", first)
IF_RANGE = Header("If-Range", "The ETag of the file that the range is of.", first)
IF_NONE_MATCH = Header("If-None-Match", "ETags that the caller has.", first)
_OF_URL = "Of a signed URL, which needs no key; use such URLs as they are."
SIGNED = tuple(Query(name, _OF_URL, as_text) for name in ("expires", "kid", "sig"))

_GONE = (404, 410)
_BODY = Body({"multipart/form-data": wire.FileForm, "application/octet-stream": BINARY})
_ABOUT = ("ETag", "Repr-Digest", "Accept-Ranges", "Content-Disposition")
_CONTENT = {
    200: Answer("The bytes.", {"*/*": BINARY}, _ABOUT),
    206: Answer("The bytes that were asked for.", {"*/*": BINARY}, (*_ABOUT, "Content-Range")),
    304: Answer("Not changed."),
    307: Answer("They are in the bucket.", headers=("Location",)),
}
routes = Routes("files")


#: Seconds for which a URL of the bucket itself opens: it is followed at once.
_BUCKET_URL = 60.0
_RANGE = re.compile(r"bytes=([0-9]{0,100})-([0-9]{0,100})")
#: What says that the body is something other than a file.
_NO_FILE = re.compile(r"application/json\b|multipart/", re.IGNORECASE)
#: A browser shows nothing of it, runs nothing of it, and believes no type but ours.
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-store",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@routes("POST", "/files", {201: gives(wire.File, "Stored.", "Location")}, (408, 413, 415, 422, 507), (NAME,), body=_BODY)
async def add_file(request: Request) -> Response:
    """Store a file, to be named in inputs."""
    caller = caller_of(request)
    content_type = request.headers.get("content-type", "")
    async with Uploads(caller, keep=caller.settings.retention) as uploads:
        if is_multipart(content_type):
            record = await _only_file(request, uploads)
        elif _NO_FILE.match(content_type.strip()):
            raise UnsupportedMedia(
                "Send the file as a part of multipart/form-data, or as the body with `Content-Type: application/octet-stream`."
            )
        else:
            record = await uploads.receive(steady(request.stream()), filename=NAME.of(request) or "")
        uploads.release()
    return json_response(await files.file_view(caller, record), 201, {"Location": f"{caller.base}/files/{record.ref.id}"})


async def _only_file(request: Request, uploads: Uploads) -> FileRecord:
    record: FileRecord | None = None
    async for part in read_parts(request.stream(), request.headers["content-type"]):
        if part.filename is None:
            await part.text(64 * 1024)
        elif record is None:
            record = await uploads.receive(part.chunks(), filename=part.filename)
        else:
            raise ValidationFailed("The form holds several files; send one at a time.", errors=[_finding(part.name, "a second file")])
    if record is None:
        raise ValidationFailed("The form holds no file: a part with a filename.", errors=[_finding("file", "missing")])
    return record


def _finding(name: str, detail: str) -> dict[str, str]:
    return {"pointer": f"/{name}", "detail": detail}


@routes("GET", "/files/{file_id}", {200: gives(wire.File)}, _GONE)
async def get_file(request: Request) -> Response:
    """What is known of a file."""
    caller = caller_of(request)
    return json_response(await files.file_view(caller, await files.get(caller, request.path_params["file_id"])))


@routes("DELETE", "/files/{file_id}", {204: Answer("Hidden. Its bytes go with the last job that needs them.")}, _GONE)
async def delete_file(request: Request) -> Response:
    """Delete a file."""
    await files.delete(caller_of(request), request.path_params["file_id"])
    return no_content()


@routes("GET", "/files/{file_id}/content", _CONTENT, (*_GONE, 416), (RANGE, IF_RANGE, IF_NONE_MATCH, *SIGNED), key="signed")
async def get_content(request: Request) -> Response:
    """The bytes of a file."""
    caller = caller_of(request)
    query = dict(request.query_params)
    record = await files.readable(caller, request.path_params["file_id"], query)
    url = await caller.blobs.url(record.ref.key, expires=_BUCKET_URL)
    if url is not None and request.method == "GET":
        return RedirectResponse(url, 307, {"Cache-Control": "no-store"})
    return await content_response(request, caller, record.ref)


async def content_response(request: Request, caller: Caller, ref: FileRef, more: Mapping[str, str] | None = None) -> Response:
    """The bytes of a file, or the one range of them that is asked for.

    Args:
        request: may name a range, and what its sender has already.
        caller: who asks.
        ref: the file.
        more: further headers.

    Raises:
        FileGone: they have just expired.
        RangeNotSatisfiable
    """
    etag = f'"{ref.digest}"'
    headers = _SAFE | {
        "Content-Type": ref.content_type,
        "Content-Disposition": content_disposition(ref.name),
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{ref.digest.removeprefix('sha-256=')}:",
        **(more or {}),
    }
    if _matches(IF_NONE_MATCH.of(request), etag):
        return Response(status_code=304, headers={name: headers[name] for name in ("ETag", "Cache-Control", "Vary") if name in headers})
    start, end, status = 0, ref.size, 200
    asked = _range(request, etag, ref.size)
    if asked is not None:
        (start, end), status = asked, 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{ref.size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    try:
        chunks = await caller.blobs.get(ref.key, start=start, end=end)
    except BlobNotFound:
        raise FileGone(f"The bytes of {ref.id} are not there any longer.") from None
    return BlobResponse(chunks, status, headers)


def _matches(header: str | None, etag: str) -> bool:
    return header is not None and (header.strip() == "*" or etag in [each.strip().removeprefix("W/") for each in header.split(",")])


def _range(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """The bytes that are asked for, from and up to; None: all of them (RFC 9110, 14.2: what is not understood is left out of account).

    Several ranges are not understood: their answers cost more than they are worth.
    """
    header, condition = RANGE.of(request), IF_RANGE.of(request)
    found = None if header is None or request.method != "GET" else _RANGE.fullmatch(header.strip())
    if found is None or (condition is not None and condition.strip() != etag) or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        start, end = size - length, size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1 if found[2] else size, size)
        if found[2] and int(found[2]) < int(found[1]):
            return None
    if start >= size:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", size=size)
    return start, end
