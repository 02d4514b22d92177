"""The OpenAPI 3.1 document: one path a model, so that generated clients and forms know each model's input and output."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from longrun.api.answers import PREFIX
from longrun.api.routes.operations import RedriveRequest
from longrun.api.schemas import COMPONENTS, Schema, ref
from longrun.models import ModelSpec
from longrun.service.request import PolicyRequest, SubmitRequest
from longrun.settings import Settings
from longrun.version import VERSION

_PROBLEMS = {
    400: "The request cannot be read.",
    401: "No key, or a wrong one.",
    403: "The Host or the Origin is not allowed.",
    404: "Not found, or not yours.",
    409: "Not possible in the job's present state.",
    410: "The job was deleted or has expired.",
    413: "The body is too large.",
    415: "Not a content type, or encoding, that is read here.",
    422: "The values break a rule; `errors` says which and where.",
    426: "This is a WebSocket.",
    500: "An error of the service.",
    503: "The store does not answer or is not safe, or the queue is full. Try again after `Retry-After`.",
    507: "The store is full.",
}
#: What any request can be answered with: the doors judge the head of each.
_ALWAYS = (400, 403, 413, 415, 500, 503)
_REF = "#/$defs/"

_JOB_ID = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string"}, "description": "The job's id."}
_PREFER = "`wait=N`: wait up to N seconds, 60 at most, for the end (RFC 7240)."
_TEXT: Schema = {"type": "string"}


def build_openapi(models: Iterable[ModelSpec], settings: Settings) -> dict[str, Any]:
    """The document for these models."""
    schemas = dict(COMPONENTS)
    schemas["PolicyRequest"] = PolicyRequest.model_json_schema()
    schemas["RedriveRequest"] = RedriveRequest.model_json_schema()
    keyed = bool(settings.api_keys)
    paths = _job_paths() | _operator_paths()
    for spec in models:
        paths[f"{PREFIX}/models/{spec.name}/jobs"] = {"post": _submit(spec, schemas)}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Longrun", "version": VERSION, "description": "Submit a job, then poll, wait, stream or be told."},
        "paths": {
            path: {verb: _with_doors(each, path, keyed=keyed) for verb, each in verbs.items()} for path, verbs in sorted(paths.items())
        },
        "components": {"schemas": schemas},
    }
    if keyed:
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"bearer": []}]
    return document


def _with_doors(operation: dict[str, Any], path: str, *, keyed: bool) -> dict[str, Any]:
    """The operation with the answers that every route can give."""
    is_open = path in ("/livez", "/readyz")
    codes = _ALWAYS if not keyed or is_open else (*_ALWAYS, 401)
    responses = {str(code): _problem(code) for code in codes} | operation["responses"]
    more: dict[str, Any] = {"security": []} if keyed and is_open else {}
    return operation | {"responses": dict(sorted(responses.items()))} | more


def _problem(code: int) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-Id": {"schema": _TEXT}}
    if code in (503, 507):
        headers["Retry-After"] = {"schema": {"type": "integer"}}
    return {"description": _PROBLEMS[code], "headers": headers, "content": {"application/problem+json": {"schema": ref("Problem")}}}


def _ok(schema: Schema, description: str, headers: tuple[str, ...] = ()) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": schema}}}
    return answer | ({"headers": {name: {"schema": _TEXT} for name in headers}} if headers else {})


def _operation(name: str, summary: str, tag: str, responses: dict[int, Any], *problems: int, **more: Any) -> dict[str, Any]:
    answers = {str(code): answer for code, answer in responses.items()} | {str(code): _problem(code) for code in problems}
    return {"operationId": name, "summary": summary, "tags": [tag], "responses": answers, **more}


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string", **schema}}


def _query(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": {"type": "string", **schema}}


def _submit(spec: ModelSpec, schemas: dict[str, Schema]) -> dict[str, Any]:
    title = _component(spec.name, schemas)
    schemas[f"{title}Input"] = _hoisted(spec.input.json_schema(), f"{title}Input", schemas)
    schemas[f"{title}Output"] = _hoisted(spec.output.json_schema(), f"{title}Output", schemas)
    schemas[f"{title}Request"] = _request(f"{title}Input")
    schemas[f"{title}Job"] = {"allOf": [ref("Job"), {"properties": {"output": {"anyOf": [ref(f"{title}Output"), {"type": "null"}]}}}]}
    job, headers = ref(f"{title}Job"), ("Location", "Retry-After", "Idempotency-Replayed", "Preference-Applied")
    ended = _ok(job, "With `Prefer: wait`: the job has ended, however it did. Or the event stream.", headers)
    ended["content"]["text/event-stream"] = {"schema": _TEXT}
    return _operation(
        f"submit_{spec.name}",
        spec.title,
        "models",
        {200: ended, 202: _ok(job, "Accepted.", headers)},
        *(404, 422, 507),
        description=spec.description,
        parameters=[
            _header("Idempotency-Key", "The same key and body: the same job.", minLength=1, maxLength=255),
            _header("Prefer", _PREFER),
        ],
        requestBody={"required": True, "content": {"application/json": {"schema": ref(f"{title}Request")}}},
    )


def _request(input_name: str) -> Schema:
    schema = SubmitRequest.model_json_schema()
    members = {name: member for name, member in schema["properties"].items() if name != "input"}
    members["policy"] = ref("PolicyRequest")
    return {
        "type": "object",
        "properties": {"input": ref(input_name), **members},
        "required": ["input"],
        "additionalProperties": False,
    }


def _component(name: str, schemas: dict[str, Schema]) -> str:
    """A component name for a model; `a-b` and `a_b` read the same, so the second gets a number."""
    title = "".join(part.capitalize() for part in re.split(r"[-_]", name))
    free, number = title, 1
    while f"{free}Input" in schemas:
        number += 1
        free = f"{title}{number}"
    return free


def _hoisted(schema: Any, owner: str, schemas: dict[str, Schema]) -> Any:
    """The schema with its `$defs` moved to the components, named after their owner."""
    if not isinstance(schema, dict):
        return schema
    names = {name: f"{owner}_{re.sub(r'[^A-Za-z0-9._-]', '_', name)}" for name in schema.get("$defs", {})}
    for name, definition in schema.get("$defs", {}).items():
        schemas[names[name]] = _relinked(definition, names)
    return _relinked({key: value for key, value in schema.items() if key != "$defs"}, names)


def _relinked(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_relinked(each, names) for each in node]
    if isinstance(node, str) and node.startswith(_REF) and node.removeprefix(_REF) in names:
        return f"#/components/schemas/{names[node.removeprefix(_REF)]}"
    if isinstance(node, dict):
        # What an author gives as data is no schema, whatever it looks like.
        return {key: value if key in ("default", "const", "enum", "examples") else _relinked(value, names) for key, value in node.items()}
    return node


_GONE = (404, 410)


def _job_paths() -> dict[str, dict[str, Any]]:
    root = f"{PREFIX}/jobs/{{job_id}}"
    listing = {"get": _operation("list_jobs", "Own jobs, newest first", "jobs", {200: _page()}, 422, parameters=_filters())}
    return (
        {root: _one_job(), f"{PREFIX}/jobs": listing}
        | {root + tail: {"get": each} for tail, each in _job_reads().items()}
        | {root + tail: {"post": each} for tail, each in _job_commands().items()}
    )


def _one_job() -> dict[str, Any]:
    conditions = [_JOB_ID, _header("Prefer", _PREFER), _header("If-None-Match", "Versions that the caller has.")]
    answers = {200: _ok(ref("Job"), "The job.", ("ETag", "Retry-After")), 304: {"description": "Not changed."}}
    erased = {204: {"description": "Erased."}}
    return {
        "get": _operation("get_job", "One job", "jobs", answers, *_GONE, parameters=conditions),
        "delete": _operation("delete_job", "Erase an ended job", "jobs", erased, *_GONE, 409, parameters=[_JOB_ID]),
    }


def _job_reads() -> dict[str, dict[str, Any]]:
    def read(name: str, summary: str, answers: dict[int, Any]) -> dict[str, Any]:
        return _operation(name, summary, "jobs", answers, *_GONE, parameters=[_JOB_ID])

    failed = {"description": "It did not succeed.", "content": {"application/problem+json": {"schema": ref("JobUnsuccessful")}}}
    result = {200: _ok({}, "The output."), 202: _ok(ref("Job"), "Not yet."), 424: failed}
    return {
        "/result": read("get_result", "The output itself", result),
        "/output": read("get_output", "The output so far", {200: _ok(ref("OutputSoFar"), "So far.")}),
        "/attempts": read("get_attempts", "Who ran it, and how it went", {200: _ok(ref("AttemptList"), "Attempts.")}),
        "/events": _follow(),
        "/ws": _socket(),
    }


def _follow() -> dict[str, Any]:
    seen = [
        _JOB_ID,
        _query("after", "The last seq that the caller has."),
        _query("types", "Comma-separated event types."),
        _header("Last-Event-ID", "As `after`; wins over it."),
    ]
    stream = _ok(ref("EventPage"), "The events.")
    stream["content"]["text/event-stream"] = {"schema": _TEXT}
    over = {"description": "Ended, and nothing is left."}
    return _operation("get_events", "Follow a job", "jobs", {200: stream, 204: over}, *_GONE, 422, parameters=seen)


def _socket() -> dict[str, Any]:
    """OpenAPI knows no WebSocket: what can be said of one is how its handshake is answered."""
    told = 'Open it as a WebSocket: the events of `/events`, a text frame each. The client may send `{"cancel": true}`, and nothing else.'
    upgraded = {101: {"description": "The handshake of a WebSocket is done."}}
    seen = [_JOB_ID, _query("after", "The last seq that the caller has."), _query("types", "Comma-separated event types.")]
    return _operation("open_socket", "Follow a job over a WebSocket", "jobs", upgraded, 426, *_GONE, 422, description=told, parameters=seen)


def _job_commands() -> dict[str, dict[str, Any]]:
    job, of = ref("Job"), {"parameters": [_JOB_ID]}
    canceled = {200: _ok(job, "It has ended."), 202: _ok(job, "It is being stopped.")}
    retried = {202: _ok(job, "The new job.", ("Location",))}
    return {
        "/cancel": _operation("cancel_job", "Stop a job", "jobs", canceled, *_GONE, **of),
        "/retry": _operation("retry_job", "Run it again as a new job", "jobs", retried, *_GONE, 409, 507, **of),
    }


def _page() -> dict[str, Any]:
    return _ok(ref("JobPage"), "A page.", ("Link",))


def _filters() -> list[dict[str, Any]]:
    return [
        _query("model", "Jobs of this model."),
        _query("status", "Jobs in this state."),
        _query("tag", "Jobs with this tag."),
        _query("code", "Jobs whose error has this code."),
        _query("created_after", "Jobs created after this time (RFC 3339)."),
        _query("cursor", "From `next` of the page before."),
        _query("limit", "Jobs a page, 20 when not given.", type="integer", minimum=1, maximum=100),
    ]


def _operator_paths() -> dict[str, dict[str, Any]]:
    def one(name: str, summary: str, answer: str, *problems: int, **more: Any) -> dict[str, Any]:
        return {"get": _operation(name, summary, "operations", {200: _ok(ref(answer), summary)}, *problems, **more)}

    model = {"name": "model", "in": "path", "required": True, "schema": _TEXT, "description": "Name of the model."}
    queue = {"name": "queue", "in": "path", "required": True, "schema": _TEXT, "description": "Name of the queue."}
    ready = one("get_readyz", "Whether the store answers and is safe", "Ready")
    ready["get"]["responses"]["503"] = _ok(ref("Ready"), "It does not, or is not.", ("Retry-After",))
    metrics = {"description": "Figures for Prometheus.", "content": {"text/plain": {"schema": _TEXT}}}
    redrive = _operation(
        "redrive_dead_letters",
        "Retry dead letters",
        "operations",
        {200: _ok(ref("Redriven"), "What became of them.")},
        422,
        507,
        requestBody={"required": True, "content": {"application/json": {"schema": ref("RedriveRequest")}}},
    )
    return {
        f"{PREFIX}/models": one("list_models", "Every model", "ModelList"),
        f"{PREFIX}/models/{{model}}": one("get_model", "One model", "Model", 404, parameters=[model]),
        f"{PREFIX}/dead-letters": one("list_dead_letters", "Failed jobs, latest first", "JobPage", 422, parameters=_filters()),
        f"{PREFIX}/dead-letters/redrive": {"post": redrive},
        f"{PREFIX}/queues": one("get_queues", "How much waits where", "QueueList"),
        f"{PREFIX}/workers": one("get_workers", "Who runs what", "WorkerList"),
        f"{PREFIX}/stats": one("get_stats", "Counts and times per model", "Stats"),
        f"{PREFIX}/scale/{{queue}}": one("get_scale", "How much there is to do in a queue", "Scale", 404, parameters=[queue]),
        "/livez": one("get_livez", "Whether the process answers", "Live"),
        "/readyz": ready,
        "/metrics": {"get": _operation("get_metrics", "Figures for Prometheus", "operations", {200: metrics})},
    }
