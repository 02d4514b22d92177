"""Pieces that the OpenAPI document is made of."""

from __future__ import annotations

from typing import Any

from longrun.api.schemas import TEXT, Schema, ref

PROBLEMS = {
    400: "The request cannot be read.",
    401: "No key, or a wrong one.",
    403: "The Host or the Origin is not allowed.",
    404: "Not found, or not yours.",
    408: "The upload stood still.",
    409: "Not possible in the job's present state.",
    410: "It was deleted or has expired.",
    413: "The body, or a file in it, is too large; `limit` says what is allowed.",
    415: "Not a content type, an encoding, or a format of files, that is read here.",
    416: "The range begins after the end of the file.",
    422: "The values break a rule; `errors` says which and where.",
    426: "This is a WebSocket.",
    500: "An error of the service.",
    503: "The store, or the storage of files, does not answer or is not safe, or the queue is full. Try again after `Retry-After`.",
    507: "The store, or the storage of files, is full.",
}
PREFER = "`wait=N`: wait up to N seconds, 60 at most, for the end (RFC 7240)."
#: What any request can be answered with: the doors judge the head of each.
ALWAYS = (400, 403, 413, 415, 500, 503)


def problem(code: int) -> dict[str, Any]:
    """An answer that is a problem document."""
    headers: dict[str, Any] = {"X-Request-Id": {"schema": TEXT}}
    if code in (503, 507):
        headers["Retry-After"] = {"schema": {"type": "integer"}}
    if code == 416:
        headers["Content-Range"] = {"schema": TEXT}
    return {"description": PROBLEMS[code], "headers": headers, "content": {"application/problem+json": {"schema": ref("Problem")}}}


def ok(schema: Schema, description: str, headers: tuple[str, ...] = ()) -> dict[str, Any]:
    """An answer that is JSON of this schema."""
    answer: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": schema}}}
    return answer | ({"headers": {name: {"schema": TEXT} for name in headers}} if headers else {})


def operation(name: str, summary: str, tag: str, responses: dict[int, Any], *problems: int, **more: Any) -> dict[str, Any]:
    """What one method of one path does; `problems` are statuses beside those of `responses`."""
    answers = {str(code): answer for code, answer in responses.items()} | {str(code): problem(code) for code in problems}
    return {"operationId": name, "summary": summary, "tags": [tag], "responses": answers, **more}


def header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """A header of a request; text, unless `schema` says otherwise."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string", **schema}}


def query(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """A query parameter; text, unless `schema` says otherwise."""
    return {"name": name, "in": "query", "required": False, "description": description, "schema": {"type": "string", **schema}}


def in_path(name: str, description: str) -> dict[str, Any]:
    """A part of the path."""
    return {"name": name, "in": "path", "required": True, "schema": TEXT, "description": description}


def json_body(name: str, *, required: bool = True) -> dict[str, Any]:
    """A body that is JSON of this component."""
    return {"required": required, "content": {"application/json": {"schema": ref(name)}}}
