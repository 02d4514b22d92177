"""Every answer that is no success, as a problem document (RFC 9457)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from msgspec import UNSET
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from longrun import wire
from longrun.api.resources import known_loss
from longrun.errors import BatchNotFound, JobNotFound, Problem, RangeNotSatisfiable, Unauthenticated, ValidationFailed
from longrun.jobs.record import JobRecord
from longrun.log import Log
from longrun.service.caller import Caller
from longrun.service.losses import explained
from longrun.store.connection import StoreError

MEDIA_TYPE = "application/problem+json"
#: Codes of the framework's own answers; every other one is `http-<status>`.
_HTTP_CODES = {
    400: "validation-failed",
    404: "not-found",
    405: "method-not-allowed",
    413: "payload-too-large",
    415: "unsupported-media",
    422: "validation-failed",
}
INTERNAL = "Something went wrong here. The operator finds it in the log under the request id."

_log = Log("longrun.api")


def request_id(scope: Scope) -> str:
    """The id of the request, as `longrun.api.middleware.request_id` set it."""
    return str(scope.get("state", {}).get("request_id", ""))


def document(problem: Problem, scope: Scope) -> dict[str, Any]:
    """The members of the problem document, those that only this problem has after the others."""
    members = wire.Problem(
        type=f"urn:longrun:problem:{problem.code}", title=problem.title, status=problem.status, detail=problem.detail,
        instance=instance(scope), code=problem.code, retryable=problem.retryable, request_id=request_id(scope),
        errors=UNSET if problem.errors is None else [wire.Finding(**each) for each in problem.errors],
    )  # fmt: skip
    return {**msgspec.to_builtins(members), **problem.extra}


def instance(scope: Scope) -> str:
    """The request's path as a URI reference."""
    return quote(scope.get("path", ""), safe="/:@!$&'()*+,;=~-._", errors="replace")


def problem_response(problem: Problem, scope: Scope, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for a problem of ours."""
    more = dict(headers or {})
    if problem.retry_after is not None:
        more["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
    if isinstance(problem, Unauthenticated):
        more["WWW-Authenticate"] = "Bearer"
    if isinstance(problem, RangeNotSatisfiable) and "size" in problem.extra:
        more["Content-Range"] = f"bytes */{problem.extra['size']}"
    return _response(problem.status, document(problem, scope), more)


def job_problem_response(caller: Caller, job: JobRecord, scope: Scope) -> Response:
    """424: the job's own problem, in answer to a request for its output."""
    stored = job.error or orjson.dumps({"code": job.status.value, "attempt": job.attempt})
    instance, more = wire.JobUrls.of(job.id, caller.base).self, {"job_id": job.id, "request_id": request_id(scope)}
    return _response(424, wire.JobUnsuccessful.of(stored, instance, debug=caller.debug, **more), {"Cache-Control": "no-store"})


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a WebSocket's handshake, with a problem. A server that cannot do the latter closes the connection with 1008."""
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await problem_response(problem, scope)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": problem.title})


async def refuse_elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a path that is not there, also when the handshake of a WebSocket came to it."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": "Not Found"})
    else:
        await _on_http(HTTPConnection(scope), HTTPException(404))(scope, receive, send)


def _response(status: int, document: dict[str, Any] | wire.JobUnsuccessful, headers: Mapping[str, str]) -> Response:
    return Response(msgspec.json.encode(document, enc_hook=str), status, headers, MEDIA_TYPE)


def with_loss(problem: Problem, request: HTTPConnection) -> Problem:
    """The problem; that the job or batch of the path is not there as lost, when the store is known to have lost what was made then."""
    if not isinstance(problem, JobNotFound | BatchNotFound):
        return problem
    wanted = request.path_params.get("job_id") or request.path_params.get("batch_id") or ""
    return explained(problem, wanted, known_loss(request))


def _on_problem(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, Problem)
    error = with_loss(error, request)
    if error.status >= 500:
        _log.warning(
            "request not served", code=error.code, detail=error.detail, path=request.url.path, request_id=request_id(request.scope)
        )
    return problem_response(error, request.scope)


def _on_http(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    members = document(Problem(str(error.detail)), request.scope)
    code = _HTTP_CODES.get(status, f"http-{status}")
    members |= {"type": f"urn:longrun:problem:{code}", "title": HTTPStatus(status).phrase, "status": status, "code": code}
    if status == 404:
        members["detail"] = f"There is nothing at {members['instance']}."
    if status == 405:
        members["detail"] = f"{request.scope['method']} is not possible here; see the header Allow."
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    return _response(status, members, headers)


def _on_framework_validation(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [{"pointer": "/" + "/".join(str(step) for step in each["loc"]), "detail": str(each["msg"])} for each in error.errors()]
    return problem_response(ValidationFailed("The request is not valid.", errors=found), request.scope)


def _on_store_error(request: HTTPConnection, error: Exception) -> Response:
    _log.error("the store refused a command", path=request.url.path, request_id=request_id(request.scope), exc_info=error)
    return problem_response(Problem(INTERNAL), request.scope)


_ANSWERS: dict[type[Exception], Callable[[HTTPConnection, Exception], Response]] = {
    Problem: _on_problem,
    HTTPException: _on_http,
    RequestValidationError: _on_framework_validation,
    StoreError: _on_store_error,
}


def answer_to(request: HTTPConnection, error: Exception) -> Response:
    """The answer for what a handler raised. What is none of ours or the framework's is raised again, for `middleware.request_id`."""
    for kind, answer in _ANSWERS.items():
        if isinstance(error, kind):
            return answer(request, error)
    raise error


def install(app: FastAPI) -> None:
    """Answer every error of what the framework itself serves the same way."""

    async def answer(request: HTTPConnection, error: Exception) -> Response:
        return answer_to(request, error)

    for kind in _ANSWERS:
        app.add_exception_handler(kind, answer)
