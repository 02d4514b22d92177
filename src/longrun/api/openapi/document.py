"""The OpenAPI 3.1 document: one walk over the routes."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping
from typing import Any

from longrun import wire
from longrun.api.http.parameters import Parameter
from longrun.api.http.routing import TEXT, Answer, Route, Shape
from longrun.api.openapi.components import Components
from longrun.api.openapi.models import describe
from longrun.models import ModelSpec
from longrun.settings import Settings
from longrun.version import VERSION

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
#: What any request can be answered with: the middleware judges the head of each.
_ALWAYS = (400, 403, 413, 415, 500, 503)
_PATH_PARAMETERS = {
    "job_id": "The job's id.",
    "batch_id": "The batch's id.",
    "name": "What the job asks under.",
    "file_id": "The file's id.",
    "endpoint_id": "The endpoint's id.",
    "delivery_id": "The delivery's id.",
    "model": "Name of the model.",
    "queue": "Name of the queue.",
}


def build_openapi(routes: Iterable[Route], models: Iterable[ModelSpec], settings: Settings) -> dict[str, Any]:
    """The document for these routes and models."""
    steps = openapi_steps(routes, models, settings)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def openapi_steps(routes: Iterable[Route], models: Iterable[ModelSpec], settings: Settings) -> Generator[None, None, dict[str, Any]]:
    """The same in steps, each of which is about one shape, model or route."""
    components, keyed = Components(), bool(settings.api_keys)
    paths: dict[str, dict[str, Any]] = {}
    routes = list(routes)
    for route in routes:
        for shape in (*route.mentions, *_shapes(route)):
            components.schema(shape)
            yield
    described = []
    for each_model in describe(models, components):
        described.append(each_model)
        yield
    for route in routes:
        for each in [route] if route.each_model is None else [route.each_model(route, model) for model in described]:
            paths.setdefault(each.full_path, {})[each.method.lower()] = _operation(each, components, keyed=keyed)
            yield
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Longrun", "version": VERSION, "description": "Submit a job, then poll, wait, stream or be called back."},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": components.schemas},
    }
    if keyed:
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"bearer": []}]
    return document


def _operation(route: Route, components: Components, *, keyed: bool) -> dict[str, Any]:
    codes = (*_ALWAYS, *route.problems, *([401] if keyed and route.key != "none" else []))
    responses = {**{code: _problem(code) for code in codes}, **route.answers}
    described: dict[str, Any] = {
        "operationId": route.id,
        "summary": route.summary,
        "tags": [route.tag],
        "responses": {str(code): _response(each, components) for code, each in sorted(responses.items())},
    }
    parameters = [_in_path(name) for name in re.findall(r"{(\w+)}", route.path)] + [_parameter(each) for each in route.parameters]
    body = route.body
    if body is not None:
        described["requestBody"] = {"required": body.required, "content": _content(body.content, components, body.encoding)}
    if parameters:
        described["parameters"] = parameters
    if route.description:
        described["description"] = route.description
    if keyed and route.key != "needed":
        described["security"] = [] if route.key == "none" else [{"bearer": []}, {}]
    return described


def _shapes(route: Route) -> list[Shape]:
    bodies = [each.content for each in route.answers.values()] + ([route.body.content] if route.body else [])
    return [wire.Problem, *(shape for content in bodies for shape in content.values())]


def _problem(code: int) -> Answer:
    headers = {503: ("Retry-After",), 507: ("Retry-After",), 416: ("Content-Range",)}.get(code, ())
    return Answer(PROBLEMS[code], {"application/problem+json": wire.Problem}, ("X-Request-Id", *headers))


def _response(answer: Answer, components: Components) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.description}
    if answer.content:
        response["content"] = _content(answer.content, components)
    if answer.headers:
        response["headers"] = {name: {"schema": {"type": "integer"} if name == "Retry-After" else dict(TEXT)} for name in answer.headers}
    return response


def _content(content: Mapping[str, Shape], components: Components, encoding: Mapping[str, Any] | None = None) -> dict[str, Any]:
    shown: dict[str, Any] = {media_type: {"schema": components.schema(shape)} for media_type, shape in content.items()}
    for media_type, each in (encoding or {}).items():
        shown[media_type]["encoding"] = each
    return shown


def _parameter(each: Parameter[Any]) -> dict[str, Any]:
    return {"name": each.name, "in": each.place, "required": False, "description": each.description, "schema": dict(each.schema)}


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": dict(TEXT), "description": _PATH_PARAMETERS[name]}
